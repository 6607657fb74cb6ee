"""An engine's own server, started and stopped by us: the port first, then health, then the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from speedbench.errors import EngineError, SpeedbenchError
from speedbench.launch.engine_log import account, lines
from speedbench.launch.ports import HOST, holder_of, taken
from speedbench.launch.templates import LaunchCommand

SUPPORTED = os.name == "posix"
KEEPER = Path(__file__).with_name("keeper.py")
POLL_S = 0.2
HEALTH_TIMEOUT_S = 2.0
KEEPER_TIMEOUT_S = 30.0
LAST_WORD_S = 0.5
"""How long a failure waits for the news that the server has ended."""
GRACE_S = 10.0
"""How long an engine may take to end when it is asked to, before it is made to."""

Waiting = Callable[[float, str], None]


@contextmanager
def served(
    command: LaunchCommand, port: int, directory: Path, waiting: Waiting, *, timeout_s: float
) -> Iterator[str]:
    """Run a server as long as the block lasts, and yield its URL once it is healthy.

    It ends with the block, with every process that it has started, and also when we are killed.

    Parameters
    ----------
    command
        What to start.
    port
        Where it will listen.
    directory
        Its output goes to ``engine.log`` there, and files that it needs to ``launch/``.
    waiting
        Told, while it starts, how long that has taken and the last line it wrote.
    timeout_s
        How long to wait for its health.

    Raises
    ------
    EngineError
        On Windows; when the port is taken; when the server ends before it is healthy or while it is
        being measured, or is not healthy in time: with its own last lines.
    """
    if not SUPPORTED:
        raise EngineError("--launch: works on Linux and macOS; start the server, give --base-url")
    _reject_taken_port(port)
    log = directory / "engine.log"
    begins_at = log.stat().st_size if log.exists() else 0
    with _Kept(command, directory, log) as server:
        _await_health(server, port, command.health_path, log, begins_at, waiting, timeout_s)
        try:
            yield f"http://{HOST}:{port}"
        except SpeedbenchError as error:
            # What failed because the server has gone is told as that.
            _reject_ended(server, log, begins_at, error)
            raise
        _reject_ended(server, log, begins_at, None)


class _Kept:
    """A server under a keeper (`speedbench.launch.keeper`)."""

    def __init__(self, command: LaunchCommand, directory: Path, log: Path) -> None:
        files = directory / "launch"
        for name, content in command.files.items():
            files.mkdir(parents=True, exist_ok=True)
            (files / name).write_text(content, encoding="utf-8")
        argv = [word.replace("{files}", str(files)) for word in command.argv]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER), str(GRACE_S), str(log), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **command.env},
            start_new_session=True,
        )
        self._messages: Queue[dict[str, object]] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._pid: int | None = None
        self._end: str | None = None

    def __enter__(self) -> _Kept:
        self._reader.start()
        try:
            first = self._messages.get(timeout=KEEPER_TIMEOUT_S)
        except BaseException as error:
            self.__exit__()
            if isinstance(error, Empty):
                raise EngineError("the engine cannot be started: its keeper does not run") from None
            raise
        if not isinstance(pid := first.get("pid"), int):
            self.__exit__()
            raise EngineError(
                f"the engine cannot be started: {first.get('failed', 'its keeper has ended')}; is "
                "it installed here? --launch-program names another"
            )
        self._pid = pid
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()  # the keeper's grace is bounded
        if self._process.returncode and self._pid is not None:
            with suppress(OSError):  # the keeper did not end by itself: do its work
                os.killpg(self._pid, signal.SIGKILL)
        self._reader.join()
        self._process.stdout.close()

    def end(self, wait_s: float = 0.0) -> str | None:
        """Return how the server has ended, as half a sentence; None if it still runs after that."""
        if self._end is None:
            try:
                message = self._messages.get(block=wait_s > 0.0, timeout=wait_s)
            except Empty:
                return None
            self._end = _ended(message.get("code"))
        return self._end

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._messages.put(json.loads(line))
        self._messages.put({})  # nothing more will be said


def _ended(code: object) -> str:
    if not isinstance(code, int):
        return "was ended together with its keeper"
    if code == -signal.SIGKILL:
        return "was killed (signal 9), most likely because memory ran out"
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _await_health(
    server: _Kept,
    port: int,
    path: str,
    log: Path,
    begins_at: int,
    waiting: Waiting,
    timeout_s: float,
) -> None:
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < timeout_s:
        if (end := server.end()) is not None:
            raise EngineError(f"the engine {end} before it was ready; {account(log, begins_at)}")
        if _healthy(port, path):
            return
        said = lines(log, begins_at)
        waiting(waited_s, said[-1] if said else "")
        time.sleep(POLL_S)
    raise EngineError(
        f"the engine was not healthy after {timeout_s:.0f} s; {account(log, begins_at)}"
    )


def _reject_ended(server: _Kept, log: Path, begins_at: int, cause: SpeedbenchError | None) -> None:
    if (end := server.end(0.0 if cause is None else LAST_WORD_S)) is not None:
        raise EngineError(
            f"the engine {end} while it was being measured; {account(log, begins_at)}; what was "
            "finished is kept, go on with --resume"
        ) from cause


def _reject_taken_port(port: int) -> None:
    if taken(port):
        holder = holder_of(port)
        by = f" by {holder}" if holder else ""
        raise EngineError(f"port {port} is taken{by}: stop it, or choose another --port")


def _healthy(port: int, path: str) -> bool:
    """Return whether a server says that it is well; one without that page lists its models."""
    status = _status(port, path)
    return status == 200 or (status == 404 and _status(port, "/v1/models") == 200)


def _status(port: int, path: str) -> int | None:
    # Not urllib, which would ask a proxy where the environment names one.
    connection = HTTPConnection(HOST, port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
