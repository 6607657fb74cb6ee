"""A launched engine is awaited, its failure told in its own words, and it never outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import environment

from speedbench import launch
from speedbench.errors import EngineError

GOOD = """
import sys
print('{"ready": {"port": 4711, "load_s": 0.5}}', flush=True)
sys.stdin.read()
"""
# Ignores the closing of its standard input, and has a child of its own.
STUBBORN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print('{"ready": {"port": 1, "child": %d}}' % child.pid, flush=True)
time.sleep(600)
"""

TELLS_ITS_PID = """
import os, sys
print('{"ready": {"port": %d}}' % os.getpid(), flush=True)
sys.stdin.read()
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def ended(pid: int, within_s: float = 20.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return not alive(pid)


def test_it_is_up_when_it_says_so(tmp_path: Path) -> None:
    with launch.launched(python(GOOD), tmp_path / "log") as server:
        assert server.base_url == "http://127.0.0.1:4711"
        assert server.ready["load_s"] == 0.5


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('no such model: x.gguf')", "no such model: x.gguf"),
        ("raise SystemExit(3)", "ended with code 3"),
    ],
)
def test_one_that_ends_instead_is_quoted(program: str, said: str, tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=said) as caught,
        launch.launched(python(program), tmp_path / "log"),
    ):
        pass
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_one_that_stays_silent_is_given_up(tmp_path: Path) -> None:
    program = "import sys; print('loading', file=sys.stderr, flush=True); sys.stdin.read()"
    with (
        pytest.raises(EngineError, match="not ready after 1 s"),
        launch.launched(python(program), tmp_path / "log", ready_timeout_s=1.0),
    ):
        pass


def test_one_that_dies_while_it_is_measured_is_an_error_afterwards(tmp_path: Path) -> None:
    def measure() -> None:
        with launch.launched(python(TELLS_ITS_PID), tmp_path / "log") as server:
            os.kill(server.ready["port"], signal.SIGKILL)
            assert ended(server.ready["port"])

    with pytest.raises(EngineError, match=r"ended with code -9 .* go on with --resume"):
        measure()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are a POSIX matter")
def test_one_that_will_not_end_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedbench.launch.process.STOP_TIMEOUT_S", 0.2)
    with launch.launched(python(STUBBORN), tmp_path / "log") as server:
        child = server.ready["child"]
        assert alive(child)
    assert ended(child)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")
def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Nobody can clean up after SIGKILL, so the engine watches its standard input."""
    program = f"""
import time
from pathlib import Path
from speedbench import launch
with launch.launched({python(TELLS_ITS_PID)!r}, Path({str(tmp_path / "log")!r})) as server:
    print(server.ready["port"], flush=True)
    time.sleep(600)
"""
    parent = subprocess.Popen(python(program), stdout=subprocess.PIPE, env=environment())
    with parent:
        assert parent.stdout is not None
        engine_pid = int(parent.stdout.readline())
        assert alive(engine_pid)
        os.kill(parent.pid, signal.SIGKILL)
    assert ended(engine_pid)
