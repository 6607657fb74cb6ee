"""``speedbench run --launch`` on real engines, as a user would, and what can go wrong."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.real_engines.conftest import ENVIRONMENT, SERVE, TARGET, Exported

Run = Callable[..., Any]


def model_of(exported: Exported, name: str) -> Path:
    """The path of ``vllm/target`` or ``gguf/target.gguf``."""
    kind, _, file = name.partition("/")
    return exported(kind) / file


@pytest.fixture
def run(
    speedbench: Run,
    program: Callable[[str], str],
    exported: Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def call(engine: str, model: str, *words: str) -> Any:
        args = [f"--launch-arg={word}" for word in SERVE[engine]]
        return speedbench(
            *("run", "--engine", engine, "--launch", "--model", model_of(exported, model)),
            *("--launch-program", program(engine), *args, *words),
            *("--tokenizer", TARGET, "--num-prompts", "2", "--max-turns", "1"),
            *("--max-tokens", "8", "--output", tmp_path / "run"),
        )

    return call


@pytest.mark.parametrize(
    ("engine", "model", "drafter"),
    [
        ("vllm", "vllm/target", "vllm/drafter"),
        ("llama_cpp", "gguf/target.gguf", "gguf/drafter.gguf"),
    ],
)
def test_a_launched_engine_is_measured_and_written_down(
    engine: str, model: str, drafter: str, run: Run, exported: Exported, tmp_path: Path
) -> None:
    method = (
        "--method",
        "draft_model",
        "--draft-length",
        "4",
        "--drafter",
        str(model_of(exported, drafter)),
    )
    done = run(engine, model, *method)
    assert done.code == 0, done.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_bytes())
    told = manifest["engine"]
    assert told["engine"] == engine
    assert told["version"]
    assert "{port}" in told["launched"]
    assert told["target"]["fingerprint"] != told["drafter"]["fingerprint"]
    assert told["tokenizer"]["tokenizer_hash"]
    assert (tmp_path / "run" / "engine.log").stat().st_size > 0


@pytest.mark.parametrize(
    ("engine", "model"), [("vllm", "vllm/absent"), ("llama_cpp", "gguf/absent.gguf")]
)
def test_a_model_that_does_not_load_ends_with_the_engines_own_words(
    engine: str, model: str, run: Run
) -> None:
    done = run(engine, model, "--method", "none")
    assert done.code == 4
    assert "before it was ready" in done.sentence
    assert "absent" in done.sentence


def test_a_port_already_taken_is_named_before_anything_starts(run: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("llama_cpp", "gguf/target.gguf", "--method", "none", "--port", str(port))
    assert done.code == 4
    assert f"port {port} is taken by process" in done.sentence
    assert not (tmp_path / "run" / "engine.log").exists()


def test_too_little_memory_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that no machine's memory can hold: the engine's own words say so."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "40000")
    done = run("vllm", "vllm/target", "--method", "none")
    assert done.code == 4
    assert "Available memory on node 0" in done.sentence


def test_a_command_of_ones_own(
    program: Callable[[str], str], exported: Exported, speedbench: Run, tmp_path: Path
) -> None:
    command = f"{shlex.quote(program('llama_cpp'))} -m {{model}} --host {{host}} --port {{port}}"
    done = speedbench(
        *("run", "--engine", "llama_cpp", "--launch", "--launch-command", command),
        *("--model", exported("gguf") / "target.gguf", "--tokenizer", TARGET),
        *("--num-prompts", "1", "--max-turns", "1", "--max-tokens", "8"),
        *("--output", tmp_path / "own"),
    )
    assert done.code == 0, done.stderr
