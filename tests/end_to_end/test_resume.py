"""A run that was interrupted, however rudely, is finished by --resume with every request once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests import server as scripts
from tests.conftest import EmbeddedRun, Finished, command, environment
from tests.server import ScriptedServer

from speedbench import analysis
from speedbench.load import Recording, read_journals

pytest.importorskip("openvino_genai", reason="the embedded engine is not installed")
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds the engine's process in /proc"
)

# The same run as `embedded_runs["draft_model", 1]`.
WORDS = (
    *("run", "--method", "draft_model", "--pair", "unexpanded", "--num-prompts", "12"),
    *("--max-tokens", "20", "--frequency-penalty", "0.2"),
)
MEASURED = "load"
Runs = Mapping[tuple[str, int], EmbeddedRun]
Interrupt = Callable[[int, int, int], None]


def recorded(directory: Path) -> Recording:
    return read_journals(sorted((directory / "journal").glob("worker-*.journal")))


def attempts_of(recording: Recording) -> Counter[str]:
    """How often each measured request was sent."""
    attempts = recording.attempts.values()
    return Counter(attempt.request.id for attempt in attempts if attempt.sent.phase == MEASURED)


def children(pid: int, of: str) -> list[int]:
    """The child processes whose command line holds `of`."""
    found = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [child for child in found if of in Path(f"/proc/{child}/cmdline").read_text()]


def gone(pid: int, within_s: float = 30.0) -> bool:
    """Whether the process ends; one that waits to be collected has ended."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            if b") Z " in Path(f"/proc/{pid}/stat").read_bytes():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@contextmanager
def under_way(
    directory: Path, words: tuple[object, ...], n_ended: int
) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, as soon as `n_ended` of its requests have ended."""
    process = subprocess.Popen(
        command(*words, "--output", directory),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            while len(recorded(directory).ended()) < n_ended:
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.005)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def kill_the_parent(parent: int, _engine: int, _worker: int) -> None:
    os.kill(parent, signal.SIGKILL)


def press_control_c(parent: int, _engine: int, _worker: int) -> None:
    os.kill(parent, signal.SIGINT)


def kill_the_engine(_parent: int, engine: int, _worker: int) -> None:
    os.kill(engine, signal.SIGKILL)


def kill_the_worker(_parent: int, _engine: int, worker: int) -> None:
    os.kill(worker, signal.SIGKILL)


def assert_every_request_once(directory: Path, whole: EmbeddedRun) -> None:
    """Each planned request is finished exactly once, with the ids of the uninterrupted run."""
    finished = Counter(
        attempt.request.id
        for attempt in recorded(directory).attempts.values()
        if attempt.sent.phase == MEASURED and attempt.ended and attempt.ended.failed is None
    )
    table = whole.trace.requests
    assert finished == Counter(table["request_id"].to_list())
    found = analysis.read_trace(directory)[1].requests
    assert found["failure_kind"].null_count() == len(found) == len(table)
    answers = dict(zip(found["request_id"], found["output_ids"].to_list(), strict=True))
    expected = dict(zip(table["request_id"], table["output_ids"].to_list(), strict=True))
    assert answers == expected


@pytest.mark.parametrize(
    ("interrupt", "code"),
    [
        (kill_the_parent, -signal.SIGKILL),
        (press_control_c, 130),
        (kill_the_engine, 4),
        (kill_the_worker, 4),
    ],
    ids=["parent killed", "Ctrl-C", "engine killed", "worker killed"],
)
def test_an_interrupted_embedded_run_is_finished_by_resume(
    interrupt: Interrupt,
    code: int,
    tmp_path: Path,
    embedded_runs: Runs,
    speedbench_process: Callable[..., Finished],
) -> None:
    directory = tmp_path / "run"
    with under_way(directory, WORDS, n_ended=3) as process:
        (engine,) = children(process.pid, "embedded.server")
        (worker,) = children(process.pid, "client.worker")
        interrupt(process.pid, engine, worker)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(60) == code, said
    assert gone(engine), "the engine outlived the run"
    assert gone(worker), "the worker outlived the run"
    assert "Traceback" not in said
    if code != -signal.SIGKILL:
        assert "--resume" in said.splitlines()[-1]
    kept = recorded(directory).delivered()
    assert 3 <= len(kept) < len(embedded_runs["draft_model", 1].trace.requests)

    done = speedbench_process(*WORDS, "--output", directory, "--resume")
    assert done.code == 0, done.stderr
    assert_every_request_once(directory, embedded_runs["draft_model", 1])
    attempts = attempts_of(recorded(directory))
    assert {attempts[name] for name in kept} == {1}, "a finished request was sent again"


def test_resuming_a_finished_run_sends_nothing(
    tmp_path: Path, server: ScriptedServer, speedbench: Callable[..., Finished]
) -> None:
    words = ("run", "--engine", "openai", "--base-url", server.base_url, "--num-prompts", "3")
    words += ("--output", str(tmp_path / "run"))
    assert speedbench(*words).code == 0
    before = attempts_of(recorded(tmp_path / "run"))
    assert speedbench(*words, "--resume").code == 0
    assert attempts_of(recorded(tmp_path / "run")) == before


def test_a_run_over_http_goes_on_after_control_c(
    tmp_path: Path, server: ScriptedServer, speedbench: Callable[..., Finished]
) -> None:
    server.play(scripts.slow_chat(20, between_s=0.01))
    words = ("run", "--engine", "openai", "--base-url", server.base_url, "--category", "qa")
    with under_way(tmp_path / "run", words, n_ended=2) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    kept = set(recorded(tmp_path / "run").delivered())
    assert 2 <= len(kept) < 11
    server.play(scripts.chat("quick"))
    assert speedbench(*words, "--output", tmp_path / "run", "--resume").code == 0
    recording = recorded(tmp_path / "run")
    assert len(recording.delivered()) == 11
    assert {attempts_of(recording)[name] for name in kept} == {1}


def test_a_failed_request_is_sent_again_by_resume(
    tmp_path: Path, server: ScriptedServer, speedbench: Callable[..., Finished]
) -> None:
    good = scripts.chat("fine")
    server.play(good, good, scripts.http_error(500, "once"), good)
    words = ("run", "--engine", "openai", "--base-url", server.base_url, "--category", "qa")
    words += ("--output", str(tmp_path / "run"))
    assert speedbench(*words).code == 0
    table = analysis.read_trace(tmp_path / "run")[1].requests
    assert table["failure_kind"].drop_nulls().to_list() == ["http_500"]
    assert speedbench(*words, "--resume").code == 0
    table = analysis.read_trace(tmp_path / "run")[1].requests
    assert table["failure_kind"].drop_nulls().to_list() == []
    assert len(table) == len(set(table["request_id"])) == 11
