"""Real servers on the demo pair: what is installed, what is exported, what was found.

Run by ``make test-engines``, which installs the engines first (tools/engines.py) and passes where
they are in SPEEDBENCH_ENGINES.  An engine that is not there skips its tests, by name and with the
reason, and is written down as not run.
"""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Silent

from speedbench import analysis, launch, pipeline, store
from speedbench.config import validated
from speedbench.launch.templates import Wanted
from speedbench.records import Summary
from speedbench.trace import Trace

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "build" / "engines.json"
TARGET = ROOT / "src" / "speedbench" / "demo_pair" / "target"
DRAFT_LENGTH = 4
SERVE = {
    "vllm": (
        *("--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "16"),
        *("--enforce-eager", "--served-model-name", "target"),
    ),
    "llama_cpp": ("-np", "8", "-c", "8192", "-t", "1", "-td", "1", "--alias", "target"),
}
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
DRAFTERS = {"draft_model": "drafter", "eagle3": "eagle3"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.engines)


@dataclass(frozen=True)
class Measured:
    """A run and what became of it."""

    path: Path
    summary: Summary
    trace: Trace
    manifest: store.Manifest

    @property
    def evidence(self) -> dict[str, Any]:
        return self.summary.facts["evidence"]

    def value(self, estimand: str) -> float:
        """An estimate of the whole run."""
        found = [
            row.estimate
            for row in self.summary.estimates
            if row.estimate.estimand == estimand and not row.slice
        ]
        return found[0].value if found else float("nan")

    def outputs(self) -> dict[tuple[str, str], list[int]]:
        """The ids of every finished answer, by request and by what exactly was asked."""
        table = self.trace.requests.filter(self.trace.requests["failure_kind"].is_null())
        rows = table.select("request_id", "input_hash", "output_ids").iter_rows()
        return {(name, asked): ids for name, asked, ids in rows}


def number(value: float) -> float | None:
    """JSON knows no NaN: what is undefined is null there."""
    return None if math.isnan(value) else value


@dataclass
class Figures:
    """What ``build/engines.json`` will hold."""

    found: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def add(self, engine: str, method: str, run: Measured, **more: Any) -> None:
        evidence = run.evidence
        check = evidence.get("chunks_and_steps", {})
        beside = evidence.get("server", {})
        positions = range(1, DRAFT_LENGTH + 1)
        self.found.setdefault(engine, {})[method] = {
            "version": run.manifest.engine.get("version"),
            "tiers_agree": beside.get("agree", True) and not check.get("unexplained", 0),
            "al_step": number(run.value("al_per_step")),
            "ar": [number(run.value(f"ar_{position}")) for position in positions],
            "steps": int(run.trace.requests["n_steps"].sum()),
            "requests": len(run.trace.requests),
            **more,
        }

    def skip(self, engine: str, sentence: str) -> None:
        self.found[engine] = {"*": {"skipped": sentence}}


@pytest.fixture(scope="session")
def figures() -> Iterator[Figures]:
    collected = Figures()
    for engine, sentence in {
        "sglang": "its kernels for CPU are not on the registry: recorded shapes only",
        "tensorrt_llm": "needs an NVIDIA GPU: recorded shapes only",
    }.items():
        collected.skip(engine, sentence)
    yield collected
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(collected.found, indent=2, allow_nan=False) + "\n")


@pytest.fixture(scope="session")
def programs(figures: Figures) -> Mapping[str, Any]:
    """Which engines are installed: a command, or why not."""
    path = os.environ.get("SPEEDBENCH_ENGINES")
    if path is None:
        pytest.fail("SPEEDBENCH_ENGINES is not set: run make test-engines")
    return json.loads(Path(path).read_text())


@pytest.fixture(scope="session")
def program(programs: Mapping[str, Any], figures: Figures) -> Callable[[str], str]:
    def of(engine: str) -> str:
        found = programs[engine]
        if "skipped" in found:
            figures.skip(engine, found["skipped"])
            pytest.skip(f"{engine}: {found['skipped']}")
        return str(found["program"])

    return of


Exported = Callable[[str], Path]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The demo pair in an engine's own format, made once: ``vllm`` or ``gguf``."""

    @functools.cache
    def make(kind: str) -> Path:
        directory = tmp_path_factory.mktemp("models")
        command = [sys.executable, "-m", "models.export", str(directory), "--only", kind]
        subprocess.run(command, cwd=ROOT, check=True)
        return directory / kind

    return make


@dataclass(frozen=True)
class Served:
    """A server that is up."""

    engine: str
    method: str
    url: str
    tokenizer: Path
    directory: Path

    def run(self, path: Path, **sections: Mapping[str, Any]) -> Measured:
        """Measure it; `sections` go over the configuration's own."""
        engine = {"engine": self.engine, "base_url": self.url, "tokenizer": str(self.tokenizer)}
        engine["method"] = self.method
        if self.method != "none":
            engine["draft_length"] = DRAFT_LENGTH
        config = {
            "engine": {**engine, **sections.get("engine", {})},
            "data": {"num_prompts": 22, "max_turns": 1, **sections.get("data", {})},
            "sampling": {"max_tokens": 64, **sections.get("sampling", {})},
            "load": {"max_failures": "0", **sections.get("load", {})},
            "preflight": sections.get("preflight", "stop"),
        }
        return measured(config, path)


def measured(config: Mapping[str, Any], path: Path, observer: Any = None) -> Measured:
    """Run a configuration."""
    found = pipeline.run(validated(dict(config)), path, resume=False, observer=observer or Silent())
    manifest, trace = analysis.read_trace(path)
    return Measured(path, found, trace, manifest)


Serve = Callable[..., AbstractContextManager[Served]]


@pytest.fixture(scope="session")
def serve(
    program: Callable[[str], str], exported: Exported, tmp_path_factory: pytest.TempPathFactory
) -> Serve:
    """Start a server of an engine with a method; it ends with the block."""

    @contextmanager
    def started(engine: str, method: str, *more: str, port: int | None = None) -> Iterator[Served]:
        if engine == "llama_cpp":
            models, suffix = exported("gguf"), ".gguf"
        else:
            models, suffix = exported("vllm"), ""
        target = models / (("mtp" if method == "mtp" else "target") + suffix)
        drafter = models / (DRAFTERS[method] + suffix) if method in DRAFTERS else None
        # For a MiMo transformers takes another tokenizer than its directory holds: Qwen2's.
        own = ("--tokenizer", str(models / "target")) if method == "mtp" else ()
        port = port or launch.free_port()
        command = launch.launch_command(
            Wanted(
                engine=engine,
                method=method,
                model=str(target),
                drafter=str(drafter) if drafter else None,
                draft_length=None if method == "none" else DRAFT_LENGTH,
                port=port,
                args=(
                    *SERVE[engine],
                    *own,
                    *(word.replace("{model}", str(target)) for word in more),
                ),
                program=program(engine),
            )
        )
        command = launch.LaunchCommand(
            command.argv, {**command.env, **ENVIRONMENT}, command.health_path, command.files
        )
        directory = tmp_path_factory.mktemp(f"{engine}-{method}")
        with launch.served(command, port, directory, lambda *_: None, timeout_s=300.0) as url:
            yield Served(engine, method, url, TARGET, directory)

    return started
