"""A server of a real engine is awaited and told about in its own words, and is never left behind.

The servers here are small, but they are processes with ports, children and ways to die.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import environment

from speedbench import launch
from speedbench.errors import EngineError, SpeedbenchError
from speedbench.launch import serving

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks processes up in /proc"
)
DEADLINE_S = 30.0

# Says for its first PAUSES answers that it is not ready yet.  `begin()` runs before it listens.
SERVER = """
import os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

PAUSES, PAGES = 0, ["/health"]

def begin():
    pass

class Handler(BaseHTTPRequestHandler):
    n_asked = 0

    def do_GET(self):
        status = 404
        if self.path in PAGES:
            Handler.n_asked += 1
            status = 200 if Handler.n_asked > PAUSES else 503
        self.send_response(status)
        self.end_headers()

    def log_message(self, *words):
        pass

{changes}
print("pid", os.getpid(), flush=True)
begin()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

IGNORES_SIGTERM = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""
HAS_A_CHILD_IN_ANOTHER_SESSION = """
def begin():
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    print("pid", child.pid, flush=True)
"""
# Its parent ends at once, so it is nobody's child but the reaper's.
HAS_A_DAEMON = """
def begin():
    sleeper = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"
    program = (
        "import subprocess, sys;"
        f"subprocess.Popen([sys.executable, '-c', {sleeper!r}], start_new_session=True)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
"""


def server(changes: str = "") -> tuple[str, ...]:
    """The command of a server; what it needs is the port."""
    return (sys.executable, "-c", SERVER.replace("{changes}", changes))


def command(argv: tuple[str, ...], port: int) -> launch.LaunchCommand:
    return launch.LaunchCommand((*argv, str(port)), {})


def serve(
    argv: tuple[str, ...],
    directory: Path,
    waiting: Callable[[float, str], None] = lambda *_: None,
    timeout_s: float = DEADLINE_S,
):
    port = launch.free_port()
    return launch.served(command(argv, port), port, directory, waiting, timeout_s=timeout_s)


def pids(directory: Path, n: int) -> list[int]:
    """The processes that have told their number in the log, once there are so many."""
    log = directory / "engine.log"
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        lines = log.read_text().splitlines() if log.exists() else []
        found = [int(line.split()[1]) for line in lines if line.startswith("pid ")]
        if len(found) >= n:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{n} processes were expected in {log}")


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether all of them end, given time."""
    deadline_s = time.monotonic() + DEADLINE_S
    while any(map(alive, pids)) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return not any(map(alive, pids))


def keeper_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def test_it_is_awaited_with_progress_and_answers(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    argv = server("PAUSES = 3")
    with serve(argv, tmp_path, lambda *now: told.append(now)) as url:
        assert urllib.request.urlopen(url + "/health").status == 200
        (pid,) = pids(tmp_path, 1)
        assert alive(pid)
    assert gone([pid])
    assert len(told) >= 3
    seconds = [waited_s for waited_s, _ in told]
    assert seconds == sorted(seconds)
    assert told[-1][1] == f"pid {pid}"


def test_a_log_is_kept_and_a_second_launch_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "engine.log").write_text("ValueError: of an earlier launch\n")
    with (
        pytest.raises(EngineError, match="ended with code 3") as caught,
        serve((sys.executable, "-c", "print('hello'); raise SystemExit(3)"), tmp_path),
    ):
        pass
    assert "earlier" not in str(caught.value)
    assert (tmp_path / "engine.log").read_text().endswith("earlier launch\nhello\n")


def test_it_gets_its_files_and_its_environment(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path;"
        "sys.exit(Path(sys.argv[1]).read_text() + os.environ['MODE'] + os.environ['HOME'])"
    )
    argv = (sys.executable, "-c", program, "{files}/options.yaml")
    wanted = launch.LaunchCommand(argv, {"MODE": "fast"}, files={"options.yaml": "batch: 1 "})
    said = f"batch: 1 fast{os.environ['HOME']}"
    with (
        pytest.raises(EngineError, match=said),
        launch.served(wanted, launch.free_port(), tmp_path, lambda *_: None, timeout_s=DEADLINE_S),
    ):
        pass


def test_a_proxy_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with serve(server(), tmp_path):
        pass


def test_one_without_a_health_page_lists_its_models(tmp_path: Path) -> None:
    with serve(server('PAGES = ["/v1/models"]'), tmp_path):
        pass


def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        port = mine.getsockname()[1]
        said = rf"port {port} is taken by process {os.getpid()} \(.*choose another --port"
        with (
            pytest.raises(EngineError, match=said) as caught,
            launch.served(
                command(server(), port), port, tmp_path, lambda *_: None, timeout_s=DEADLINE_S
            ),
        ):
            pass
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (
            "print('loading'); raise ValueError('No such architecture: Fancy')",
            r"ended with code 1 before it was ready; it says: ValueError: No such architecture",
        ),
        (
            "import sys; sys.exit('torch.OutOfMemoryError: CUDA out of memory. Tried 2.00 GiB')",
            r"it ran out of memory: torch\.OutOfMemoryError: CUDA out of memory",
        ),
        (
            "import os; print('loading', flush=True); os.kill(os.getpid(), 9)",
            r"killed \(signal 9\), most likely because memory ran out .*its last lines: loading",
        ),
        (
            "import os; os.abort()",
            r"was killed by signal 6 before it was ready.*its last lines: \(it said nothing\)",
        ),
        (
            "raise OSError(98, 'Address already in use')",
            r"its port was taken: OSError: \[Errno 98\] Address already in use",
        ),
    ],
)
def test_one_that_ends_is_quoted(program: str, said: str, tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=said) as caught,
        serve((sys.executable, "-c", program), tmp_path),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_one_that_is_never_healthy_is_given_up_and_ended(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=r"not healthy after 1 s; .*last lines: pid \d+"),
        serve(server("PAUSES = 10_000"), tmp_path, timeout_s=1.0),
    ):
        pass
    assert gone(pids(tmp_path, 1))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=r"no-such-server: No such file.*--launch-program"),
        serve(("no-such-server",), tmp_path),
    ):
        pass


def test_where_it_cannot_be_kept_it_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SUPPORTED", False)
    with pytest.raises(EngineError, match="works on Linux and macOS"), serve(server(), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "n"),
    [
        (IGNORES_SIGTERM, 1),
        (HAS_A_CHILD_IN_ANOTHER_SESSION, 2),
        (HAS_A_DAEMON, 2),
        (IGNORES_SIGTERM + HAS_A_CHILD_IN_ANOTHER_SESSION, 2),
    ],
    ids=["ignores SIGTERM", "child in another session", "daemon", "both"],
)
def test_everything_that_it_started_ends_with_it(
    changes: str, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "GRACE_S", 0.3)
    with serve(server(changes), tmp_path):
        started = pids(tmp_path, n)
        assert all(map(alive, started))
    assert not any(map(alive, started))


def test_it_may_end_as_it_likes_when_it_is_asked_to(tmp_path: Path) -> None:
    changes = """
def leave(*_):
    print("saved everything", flush=True)
    raise SystemExit
signal.signal(signal.SIGTERM, leave)
"""
    with serve(server(changes), tmp_path):
        pass
    assert (tmp_path / "engine.log").read_text().endswith("saved everything\n")


def test_it_hears_ctrl_c_if_it_wants_to(tmp_path: Path) -> None:
    changes = "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)"
    with serve(server(changes), tmp_path):
        pass
    assert (tmp_path / "engine.log").read_text().startswith("True\n")


@pytest.mark.parametrize("changes", ["", HAS_A_CHILD_IN_ANOTHER_SESSION, HAS_A_DAEMON])
def test_nothing_is_left_when_we_are_killed(changes: str, tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from speedbench import launch
port = launch.free_port()
command = launch.LaunchCommand((*{server(changes)!r}, str(port)), {{}})
with launch.served(command, port, Path({str(tmp_path)!r}), lambda *_: None, timeout_s=60) as url:
    print(url, flush=True)
    time.sleep(600)
"""
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment()) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith(b"http")
        started = pids(tmp_path, 2 if changes else 1)
        assert all(map(alive, started))
        os.kill(parent.pid, signal.SIGKILL)
    assert gone(started)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_keeper_and_that_is_told(number: int, tmp_path: Path) -> None:
    """What then fails is told as what it is: the server has gone."""

    def measure() -> None:
        with serve(server(), tmp_path):
            (pid,) = pids(tmp_path, 1)
            os.kill(keeper_of(pid), number)
            assert gone([pid])
            raise SpeedbenchError("connection refused")

    said = "was ended together with its keeper while it was being measured"
    with pytest.raises(EngineError, match=said) as caught:
        measure()
    assert str(caught.value.__cause__) == "connection refused"


def test_one_that_dies_while_it_is_measured_is_an_error_afterwards(tmp_path: Path) -> None:
    def measure() -> None:
        with serve(server(), tmp_path):
            started = pids(tmp_path, 1)
            os.kill(started[0], signal.SIGKILL)
            assert gone(started)
            raise SpeedbenchError("connection refused")

    with pytest.raises(EngineError, match=r"signal 9.* being measured.* go on with --resume"):
        measure()


def test_what_fails_beside_a_server_that_runs_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(SpeedbenchError, match="too few answers"), serve(server(), tmp_path):
        raise SpeedbenchError("too few answers")
