"""An engine's own server, started and stopped by us: the port first, then health, then the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from urllib.error import URLError
from urllib.request import urlopen

from speedbench.errors import CallError, EngineError
from speedbench.launch.process import last_lines

HOST = "127.0.0.1"
KEEPER = Path(__file__).with_name("keeper.py")
POLL_S = 0.25
HEALTH_TIMEOUT_S = 2.0
KEEPER_TIMEOUT_S = 30.0
TAIL_BYTES = 256 << 10
SAID_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|bad_alloc|Cannot allocate memory|"
    r"No available memory for the cache blocks|failed to allocate",
    re.IGNORECASE,
)
SAID_OF_PORT = re.compile(r"address already in use|couldn't bind", re.IGNORECASE)
EXCEPTION = re.compile(r"^(\(\w+ pid=\d+\) )?(\w+ [\d: -]+)?.*\b\w*(Error|Exception)\b: .+")
"""The line of a Python traceback that says what is wrong, with vLLM's prefix of processes."""
LONGEST_LINE = 300

Waiting = Callable[[float, str], None]


@dataclass(frozen=True)
class LaunchCommand:
    """How a server is started: the command, what its environment adds, where its health is.

    `files` are written into the directory of the launch first, by name; ``{files}`` in the command
    stands for that directory.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    health_path: str = "/health"
    files: Mapping[str, str] = field(default_factory=dict)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def reject_taken_port(port: int) -> None:
    """Refuse a port that something listens on already.

    Raises
    ------
    EngineError
        Naming the port, and the process that has it where the system tells.
    """
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex((HOST, port)) != 0:
            return
    holder = holder_of(port)
    by = f" by {holder}" if holder else ""
    raise EngineError(f"port {port} is taken{by}: stop it, or choose another --port")


@contextmanager
def served(
    command: LaunchCommand, port: int, directory: Path, waiting: Waiting, *, timeout_s: float
) -> Iterator[str]:
    """Run a server as long as the block lasts, and yield its URL once it is healthy.

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
        When the port is taken, when it ends before it is healthy or while it is being measured, or
        is not healthy in time: with its own last lines.
    """
    reject_taken_port(port)
    log = directory / "engine.log"
    begins_at = log.stat().st_size if log.exists() else 0
    with _Kept(command, directory, log) as server:
        url = f"http://{HOST}:{port}"
        _await_health(server, url + command.health_path, log, begins_at, waiting, timeout_s)
        yield url
        if (code := server.exit_code()) is not None:
            raise EngineError(
                f"the engine {_ended(code)} while it was being measured; "
                f"{account(log, begins_at)}; what was finished is kept, go on with --resume"
            )


class _Kept:
    """A server under a keeper (`speedbench.launch.keeper`)."""

    def __init__(self, command: LaunchCommand, directory: Path, log: Path) -> None:
        files = directory / "launch"
        for name, content in command.files.items():
            files.mkdir(parents=True, exist_ok=True)
            (files / name).write_text(content, encoding="utf-8")
        argv = [word.replace("{files}", str(files)) for word in command.argv]
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(KEEPER), str(log), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **command.env},
            start_new_session=True,
        )
        self._messages: Queue[dict[str, object]] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._code: int | None = None

    def __enter__(self) -> _Kept:
        self._reader.start()
        try:
            first = self._messages.get(timeout=KEEPER_TIMEOUT_S)
        except Empty:
            first = {"failed": "its keeper did not start"}
        if "failed" in first:
            self.__exit__()
            raise EngineError(
                f"the engine cannot be started: {first['failed']}; is it installed here? "
                "--launch-program names another"
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()  # the keeper's grace is bounded
        self._reader.join()
        self._process.stdout.close()

    def exit_code(self) -> int | None:
        """Return how the server has ended; None while it runs."""
        while self._code is None:
            try:
                message = self._messages.get_nowait()
            except Empty:
                break
            if isinstance(code := message.get("code"), int):
                self._code = code
        return self._code

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._messages.put(json.loads(line))


def _await_health(
    server: _Kept, url: str, log: Path, begins_at: int, waiting: Waiting, timeout_s: float
) -> None:
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < timeout_s:
        if _healthy(url):
            return
        if (code := server.exit_code()) is not None:
            raise EngineError(
                f"the engine {_ended(code)} before it was ready; {account(log, begins_at)}"
            )
        lines = _lines(log, begins_at)
        waiting(waited_s, lines[-1] if lines else "")
        time.sleep(POLL_S)
    raise EngineError(
        f"the engine was not healthy after {timeout_s:.0f} s; {account(log, begins_at)}"
    )


def _healthy(url: str) -> bool:
    try:
        with urlopen(url, timeout=HEALTH_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError, ValueError):
        return False


def _ended(code: int) -> str:
    if code == -9:
        return "was killed (signal 9), most likely because memory ran out"
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def account(log: Path, begins_at: int = 0) -> str:
    """Return the engine's own words about its end, as one line: the telling ones, then the last.

    Parameters
    ----------
    log
        What it wrote.
    begins_at
        Where in the file this launch begins.
    """
    lines = _lines(log, begins_at)
    parts = []
    if memory := [line for line in lines if SAID_OF_MEMORY.search(line)]:
        parts.append(f"it ran out of memory: {memory[-1][:LONGEST_LINE]}")
    elif port := [line for line in lines if SAID_OF_PORT.search(line)]:
        parts.append(f"its port was taken: {port[-1][:LONGEST_LINE]}")
    elif exceptions := [line for line in lines if EXCEPTION.match(line)]:
        # The first is the cause; those behind it report that a child or an engine has failed.
        parts.append(f"it says: {exceptions[0][:LONGEST_LINE]}")
    parts.append(f"its last lines: {last_lines(log, begins_at)}")
    return "; ".join(parts)


def _lines(log: Path, begins_at: int) -> list[str]:
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(begins_at, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def holder_of(port: int) -> str:
    """Return the process that listens on a port, as far as /proc tells; empty if it does not."""
    try:
        sockets = {
            fields[9]
            for table in ("/proc/net/tcp", "/proc/net/tcp6")
            if Path(table).exists()
            for fields in (line.split() for line in Path(table).read_text().splitlines()[1:])
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
        }
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and _holds(process, sockets):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                return f"process {process.name} ({command[:80]})"
    except OSError:
        pass
    return ""


def _holds(process: Path, inodes: set[str]) -> bool:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    with contextlib.suppress(OSError):  # another user's, or gone
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.readlink(link) in wanted:
                    return True
    return False


def split(command: str, values: Mapping[str, str]) -> Sequence[str]:
    r"""Return a command of the user's own as words, with what is in braces filled in.

    Raises
    ------
    CallError
        For a quote that does not end.

    Examples
    --------
    >>> split("serve --port {port} --json '{\"a\": 1}'", {"port": "8000"})
    ['serve', '--port', '8000', '--json', '{"a": 1}']
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CallError(f"--launch-command: {str(error).lower()}") from error
    for name, value in values.items():
        words = [word.replace("{" + name + "}", value) for word in words]
    return words
