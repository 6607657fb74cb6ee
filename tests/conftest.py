"""Fixtures that several rooms' tests share: the scripted server, the command line, a real study."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.server import ScriptedServer, running

from speedbench import analysis, pipeline
from speedbench.cli import main
from speedbench.config import RunConfig, validated
from speedbench.records import Event, Failed, Request, Sampling, Summary
from speedbench.tokenization import ChatTokenizer, from_directory
from speedbench.trace import Trace

GOLDEN = Path(__file__).parent / "golden"
SOURCES = Path(__file__).parent.parent / "src"


def pytest_sessionstart() -> None:
    """In CI the engine's tests must run: a missing engine is a failure there, not a skip."""
    if os.environ.get("CI") and find_spec("openvino_genai") is None:
        raise pytest.UsageError("CI needs the embedded engine, and openvino-genai is not installed")


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Show a line to whoever runs the tests: a figure that is worth seeing and not asserted."""

    def show(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return show


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A local HTTP server that plays scripts; see `tests.server`."""
    with running() as scripted:
        yield scripted


# --- the command line ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The one line of complaint: all there is but for where to look and the preflight."""
        assert "Traceback" not in self.stderr
        lines = [
            line
            for line in self.stderr.splitlines()
            if not line.startswith(("writing to ", "preflight, ", "waiting for "))
        ]
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("speedbench: ")
        return lines[0]


def command(*words: object) -> list[str]:
    """The program as a child process would be started by a shell."""
    return [sys.executable, "-c", "from speedbench.cli import main; main()", *map(str, words)]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCES), **changes}


@pytest.fixture
def speedbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Call the command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Finished:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        code = left.value.code
        assert isinstance(code, int)
        return Finished(code, *capfd.readouterr())

    return run


@pytest.fixture
def speedbench_process(tmp_path: Path) -> Callable[..., Finished]:
    """Run the command line in a process of its own, in an empty directory."""

    def run(*words: object, **changes: str) -> Finished:
        done = subprocess.run(
            command(*words),
            cwd=tmp_path,
            env=environment(**changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


# --- requests and recorded bytes -----------------------------------------------------------------


@pytest.fixture
def request_of() -> Callable[..., Request]:
    """Make a request of token ids without a prompt behind it."""

    def make(*input_ids: int, max_tokens: int = 16) -> Request:
        return Request(
            id="p#0",
            prompt_id="p",
            turn=0,
            input_hash="0",
            sampling=Sampling(max_tokens=max_tokens),
            input_ids=input_ids,
            messages=(("user", "Hello"),),
        )

    return make


def reads(data: bytes, *positions: int) -> list[Event]:
    """`data` as it arrives in several reads, split at `positions`, stamped 1, 2, ..."""
    edges = [0, *sorted(positions), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    return [Event(stamp, piece) for stamp, piece in enumerate(pieces, start=1)]


@pytest.fixture
def golden() -> Callable[[str], bytes]:
    """Bytes that a real engine sent; tests/golden/README.md says which and how."""
    return lambda name: (GOLDEN / name).read_bytes()


# --- a real study on the embedded engine ---------------------------------------------------------


class Silent:
    """An observer that keeps what it is told and says nothing."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, Failed | None]] = []
        self.n_reads = 0
        self.labels: list[str] = []
        self.finished_before = 0

    def ended(self, request_id: str, failed: Failed | None) -> None:
        self.outcomes.append((request_id, failed))

    def received(self, n_reads: int) -> None:
        self.n_reads += n_reads

    def starting(self, waited_s: float, line: str) -> None:
        self.waited_s = waited_s

    def checked(self, findings) -> None:
        self.findings = list(findings)

    def kept(self, n_finished: int, n_torn_bytes: int) -> None:
        self.finished_before += n_finished

    def describe(self, label: str) -> None:
        self.labels.append(label)


@dataclass(frozen=True)
class EmbeddedRun:
    """A finished run, where it lies and what it says."""

    path: Path
    config: RunConfig
    summary: Summary
    trace: Trace
    outcomes: Sequence[tuple[str, Failed | None]]


def embedded_config(
    method: str, concurrency: int = 1, *, pair: str = "unexpanded", prompts: int = 12, seed: int = 0
) -> RunConfig:
    """A small greedy run of the demo pair, loops kept short by a frequency penalty."""
    return validated(
        {
            "engine": {"engine": "embedded", "method": method, "pair": pair},
            "data": {"num_prompts": prompts},
            "load": {"concurrency": concurrency},
            "sampling": {"max_tokens": 20, "frequency_penalty": 0.2},
            "seed": seed,
        }
    )


def measured(config: RunConfig, path: Path) -> EmbeddedRun:
    observer = Silent()
    summary = pipeline.run(config, path, resume=False, observer=observer)
    return EmbeddedRun(path, config, summary, analysis.read_trace(path)[1], observer.outcomes)


@pytest.fixture(scope="session")
def embedded_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], EmbeddedRun]:
    """Every method at concurrency 1 and 4, measured once, by (method, concurrency)."""
    directory = tmp_path_factory.mktemp("embedded")
    return {
        (method, concurrency): measured(
            embedded_config(method, concurrency), directory / f"{method}-{concurrency}"
        )
        for method in ("none", "ngram", "draft_model")
        for concurrency in (1, 4)
    }


@pytest.fixture(scope="session")
def demo_tokenizer() -> ChatTokenizer:
    """The demo pair's tokenizer and chat template."""
    from speedbench.engines.embedded.models import demo_pair_path

    return from_directory(demo_pair_path() / "target")
