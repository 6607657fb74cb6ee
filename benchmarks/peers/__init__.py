"""Other load clients: how each is installed, called and read.  A module per client."""

from __future__ import annotations

from peers import aiperf_profile, guidellm_run, inference_perf, sglang_bench, vllm_bench

CLIENTS = [
    aiperf_profile.CLIENT,
    vllm_bench.CLIENT,
    vllm_bench.RUST,
    sglang_bench.CLIENT,
    guidellm_run.CLIENT,
    inference_perf.CLIENT,
]

INSTALLS: dict[str, list[list[str]]] = {
    "aiohttp": [["aiohttp==3.14.5"]],
    "aiperf": aiperf_profile.PIP,
    "guidellm": guidellm_run.PIP,
    "sglang": sglang_bench.PIP,
    "vllm": vllm_bench.PIP,
}
"""What pip is told, call by call, in the environment of that name."""
