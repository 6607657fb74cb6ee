"""The commands that start each engine with each method; the flags are the engines' own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from speedbench import launch
from speedbench.errors import CallError, UnknownNameError

METHODS = {
    "vllm": {"none", "ngram", "draft_model", "eagle", "eagle3", "mtp", "medusa", "suffix"},
    "sglang": {"none", "ngram", "draft_model", "eagle", "eagle3", "mtp"},
    "tensorrt_llm": {"none", "ngram", "draft_model", "eagle3", "mtp"},
    "llama_cpp": {"none", "ngram", "draft_model", "eagle3", "mtp"},
}
WITHOUT_DRAFTER = ("none", "ngram", "suffix", "mtp")


def wanted(engine: str, method: str, **more: Any) -> launch.Wanted:
    drafter = None if method in WITHOUT_DRAFTER else "/models/draft"
    length = None if method == "none" else 3
    fields = {"model": "/models/target", "port": 8123, "drafter": drafter, "draft_length": length}
    return launch.Wanted(engine=engine, method=method, **{**fields, **more})


def words(engine: str, method: str, **more: Any) -> list[str]:
    return list(launch.launch_command(wanted(engine, method, **more)).argv)


def value(argv: list[str], flag: str) -> str | None:
    """What follows a flag; None where it is not given."""
    return argv[argv.index(flag) + 1] if flag in argv else None


@pytest.mark.parametrize(
    ("engine", "method"), [(engine, method) for engine in METHODS for method in METHODS[engine]]
)
def test_every_command_says_what_is_served_and_where(engine: str, method: str) -> None:
    argv = words(engine, method, args=("--port", "1"), program="env A=b 'my server'")
    assert argv[:3] == ["env", "A=b", "my server"]
    assert argv[-2:] == ["--port", "1"], "what the user adds comes last, and so prevails"
    assert "/models/target" in argv
    assert value(argv, "--host") == "127.0.0.1"
    assert value(argv, "--port") == "8123"


@pytest.mark.parametrize(
    ("engine", "program"),
    [
        ("vllm", ["vllm", "serve", "/models/target"]),
        ("sglang", ["python3", "-m", "sglang.launch_server", "--model-path"]),
        ("tensorrt_llm", ["trtllm-serve", "/models/target"]),
        ("llama_cpp", ["llama-server", "-m"]),
    ],
)
def test_without_speculation_none_is_configured(engine: str, program: list[str]) -> None:
    argv = words(engine, "none")
    assert argv[: len(program)] == program
    flags = [word for word in argv if word.startswith(("--spec", "--hf-repo-draft", "-md"))]
    assert flags == []


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (
            "ngram",
            {
                "method": "ngram",
                "num_speculative_tokens": 3,
                "prompt_lookup_max": 4,
                "prompt_lookup_min": 2,
            },
        ),
        (
            "draft_model",
            {"method": "draft_model", "num_speculative_tokens": 3, "model": "/models/draft"},
        ),
        ("mtp", {"method": "mtp", "num_speculative_tokens": 3}),
        ("suffix", {"method": "suffix", "num_speculative_tokens": 3}),
        ("medusa", {"method": "medusa", "num_speculative_tokens": 3, "model": "/models/draft"}),
    ],
)
def test_vllm(method: str, config: dict[str, Any]) -> None:
    argv = words("vllm", method)
    assert json.loads(value(argv, "--speculative-config") or "") == config
    assert value(argv, "--per-request-spec-decode-metrics") == "detailed"
    assert "--no-enable-prefix-caching" in argv


def test_vllm_without_speculation_is_not_asked_for_an_account_of_it() -> None:
    """It refuses to start with that flag: "requires speculative decoding to be enabled"."""
    assert "--per-request-spec-decode-metrics" not in words("vllm", "none")


@pytest.mark.parametrize(
    ("program", "by_place"),
    [("uv run vllm serve", True), ("python3 -m vllm.entrypoints.openai.api_server", False)],
)
def test_vllm_gets_its_model_the_way_the_program_takes_it(program: str, by_place: bool) -> None:
    argv = words("vllm", "none", program=program)
    rest = argv[len(program.split()) :]
    assert rest[:2] == (["/models/target", "--host"] if by_place else ["--model", "/models/target"])


@pytest.mark.parametrize(
    ("method", "algorithm", "steps", "drafter"),
    [
        ("ngram", "NGRAM", None, None),
        ("draft_model", "STANDALONE", "3", "/models/draft"),
        ("eagle", "EAGLE", "3", "/models/draft"),
        ("eagle3", "EAGLE3", "3", "/models/draft"),
        ("mtp", "NEXTN", "3", None),
    ],
)
def test_sglang(method: str, algorithm: str, steps: str | None, drafter: str | None) -> None:
    argv = words("sglang", method)
    assert value(argv, "--speculative-algorithm") == algorithm
    assert value(argv, "--speculative-num-steps") == steps
    assert value(argv, "--speculative-num-draft-tokens") == "4", "the draft's and one"
    assert value(argv, "--speculative-draft-model-path") == drafter
    breadth = "--speculative-ngram-max-bfs-breadth" if steps is None else "--speculative-eagle-topk"
    assert value(argv, breadth) == "1", "a chain, not a tree"
    assert {"--disable-radix-cache", "--enable-metrics"} <= set(argv)


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("none", None),
        ("ngram", {"decoding_type": "NGram", "max_draft_len": 3, "max_matching_ngram_size": 4}),
        (
            "draft_model",
            {
                "decoding_type": "Draft_Target",
                "max_draft_len": 3,
                "speculative_model": "/models/draft",
            },
        ),
        (
            "eagle3",
            {"decoding_type": "Eagle3", "max_draft_len": 3, "speculative_model": "/models/draft"},
        ),
        ("mtp", {"decoding_type": "MTP", "num_nextn_predict_layers": 3}),
    ],
)
def test_tensorrt_llm(method: str, config: dict[str, Any] | None) -> None:
    command = launch.launch_command(wanted("tensorrt_llm", method))
    assert value(list(command.argv), "--extra_llm_api_options") == "{files}/options.yaml"
    options = json.loads(command.files["options.yaml"])
    assert options.pop("speculative_config", None) == config
    assert options == {
        "return_perf_metrics": True,
        "perf_metrics_max_requests": 10_000,
        "kv_cache_config": {"enable_block_reuse": False},
    }


@pytest.mark.parametrize(
    ("method", "kind", "length"),
    [
        ("ngram", "ngram-simple", "--spec-ngram-simple-size-m"),
        ("draft_model", "draft-simple", "--spec-draft-n-max"),
        ("eagle3", "draft-eagle3", "--spec-draft-n-max"),
        ("mtp", "draft-mtp", "--spec-draft-n-max"),
    ],
)
def test_llama_cpp(method: str, kind: str, length: str) -> None:
    argv = words("llama_cpp", method)
    assert value(argv, "--spec-type") == kind
    assert value(argv, length) == "3"
    assert value(argv, "-md") == (None if method in WITHOUT_DRAFTER else "/models/draft")
    assert "--metrics" in argv


def test_llama_cpp_takes_files_and_hub_ids() -> None:
    argv = words("llama_cpp", "draft_model", model="owner/target:Q8_0", drafter="owner/draft")
    assert value(argv, "--hf-repo") == "owner/target:Q8_0"
    assert value(argv, "--hf-repo-draft") == "owner/draft"
    argv = words("llama_cpp", "draft_model", model="target.gguf", drafter="./draft.gguf")
    assert value(argv, "-m") == "target.gguf"
    assert value(argv, "-md") == "./draft.gguf"


@pytest.mark.parametrize(
    ("engine", "method"),
    [
        (engine, method)
        for engine in METHODS
        for method in sorted(METHODS["vllm"] - METHODS[engine])
    ],
)
def test_a_method_that_an_engine_lacks(engine: str, method: str) -> None:
    with pytest.raises(CallError, match=f"{engine} has no method '{method}'; it has none, ngram"):
        words(engine, method)


@pytest.mark.parametrize(
    ("engine", "method", "more", "said"),
    [
        ("vlm", "none", {}, "unknown engine to launch 'vlm': did you mean 'vllm'?"),
        ("vllm", "eagle4", {"drafter": None}, "unknown method 'eagle4': did you mean 'eagle'?"),
        ("vllm", "eagle3", {"drafter": None}, "--drafter is needed: eagle3"),
        ("vllm", "mtp", {"draft_length": None}, "--draft-length is needed: how many tokens"),
        ("vllm", "none", {"drafter": "d"}, "--drafter: method 'none' has no drafter"),
        ("vllm", "ngram", {"drafter": "d"}, "--drafter: ngram drafts from the text"),
        ("vllm", "none", {"program": "'vllm"}, "--launch-program: no closing quotation"),
    ],
)
def test_what_cannot_be_started(engine: str, method: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(CallError, match=re.escape(said)) as caught:
        words(engine, method, **more)
    assert isinstance(caught.value, UnknownNameError) == said.startswith("unknown")


def test_a_command_of_ones_own() -> None:
    spec = launch.Wanted(
        engine="openai",
        method="other",
        model="a model {port}",
        port=8123,
        drafter=None,
        draft_length=5,
        args=("-v",),
    )
    text = "serve '{model}' --at {host}:{port} -k {draft_length} -d '{drafter}' --json '{\"a\": 1}'"
    assert list(launch.free_form(text, spec).argv) == [
        *("serve", "a model {port}", "--at", "127.0.0.1:8123", "-k", "5", "-d", ""),
        *("--json", '{"a": 1}', "-v"),
    ]
    with pytest.raises(CallError, match=r"--launch-command: must hold \{port\}"):
        launch.free_form("serve", spec)
    with pytest.raises(CallError, match="--launch-command: no closing quotation"):
        launch.free_form("serve {port} 'x", spec)
