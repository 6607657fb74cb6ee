"""vLLM's two bench clients: `vllm bench serve` in Python, its default, and its port to Rust."""

from __future__ import annotations

import json
from pathlib import Path

from client_figures import Clock, Seen
from client_load import Client, Load
from client_reading import intervals_to_times, seen_of, stamps

from peers.place import TOKENIZER, missing, program

PIP = [
    ["--no-deps", "vllm==0.33.0"],
    [  # what its bench client imports, in the versions that vllm 0.33.0 asks for
        *("torch==2.14.0", "transformers>=5.16.1,<5.21.0", "aiohttp>=3.14.4", "openai>=2.25.0"),
        *("fastapi>=0.133.0,<0.137.0", "xgrammar==0.2.8", "llguidance>=1.7.0,<1.8.0"),
        *("pydantic>=2.12.0", "cachetools", "cbor2", "cloudpickle", "einops", "msgspec", "numpy"),
        *("oss-harmony>=0.0.11", "packaging", "partial-json-parser", "pillow", "psutil"),
        *("prometheus_client>=0.18.0", "py-cpuinfo", "pybase64", "pyzmq>=25.0.0", "regex"),
        *("requests>=2.33.0", "tqdm", "urllib3", "uvloop"),
    ],
]


def _options(load: Load) -> list[str]:
    chunks = str(load.pace.chunks)
    return [
        *("--backend", "openai-chat", "--base-url", load.base_url, "--model", "paced"),
        *("--endpoint", "/v1/chat/completions", "--tokenizer", str(TOKENIZER)),
        *("--dataset-name", "random", "--random-input-len", "16", "--random-output-len", chunks),
        *("--num-prompts", str(load.n_requests), "--max-concurrency", str(load.streams)),
        *("--ready-check-timeout-sec", "0", "--disable-tqdm", "--save-result", "--save-detailed"),
        *("--result-dir", str(load.directory), "--result-filename", "vllm.json"),
    ]


def _python_command(load: Load) -> list[str]:
    start = Path(__file__).with_name("start_vllm.py")
    return [str(program("vllm", "python")), str(start), *_options(load)]


def _rust_command(load: Load) -> list[str]:
    (binary,) = program("vllm", "..").glob("lib/python*/site-packages/vllm/vllm-rs")
    return [str(binary), "bench", "serve", *_options(load)]


def _read(load: Load, clock: Clock) -> Seen:
    result = json.loads((load.directory / "vllm.json").read_bytes())
    answers = [
        (round(start_s * 1e9), stamps(text), intervals_to_times(start_s, ttft_s, itl_s))
        for start_s, ttft_s, itl_s, text in zip(
            result["start_times"],
            result["ttfts"],
            result["itls"],
            result["generated_texts"],
            strict=True,
        )
    ]
    return seen_of(answers, clock=clock, n_failed=result["failed"])


CLIENT = Client(
    "vllm bench",
    _python_command,
    lambda load: _read(load, "monotonic"),  # start_times are time.perf_counter()
    missing=lambda: missing("vllm"),
)
RUST = Client(
    "vllm (Rust)",
    _rust_command,
    lambda load: _read(load, "run"),
    missing=lambda: missing("vllm"),
    own_clock=True,
)
