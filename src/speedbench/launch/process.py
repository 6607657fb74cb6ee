"""One server process, owned: started, awaited, stopped with everything it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any

from speedbench.errors import EngineError
from speedbench.launch.engine_log import last_lines

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ServerProcess:
    """A server that is up: where it answers, and what it said when it became ready."""

    base_url: str
    ready: dict[str, Any]


@contextmanager
def launched(
    command: Sequence[str], log: Path, *, ready_timeout_s: float = READY_TIMEOUT_S
) -> Iterator[ServerProcess]:
    """Run `command` as long as the block lasts.

    The command must print one JSON line ``{"ready": {"port": ...}}`` when it listens on loopback,
    and must end when its standard input closes: so it ends with us even when we are killed.

    Parameters
    ----------
    command
        Program and arguments.
    log
        Where its error output is kept.

    Raises
    ------
    EngineError
        When it ends or stays silent instead of becoming ready, or has ended before the block, with
        its own last lines.
    """
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is ours to handle, and the group ours to stop
        )
    assert process.stdout is not None
    lines: Queue[bytes] = Queue()
    reader = Thread(target=_forward_lines, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        ready = _await_ready(process, lines, log, ready_timeout_s)
        yield ServerProcess(f"http://127.0.0.1:{ready['port']}", ready)
        if process.poll() is not None:
            raise EngineError(
                f"the engine ended with code {process.returncode} while it was being measured; its "
                f"last lines: {last_lines(log)}; what was finished is kept, go on with --resume"
            )
    finally:
        _stop(process)
        reader.join()  # its pipe has ended with the process
        process.stdout.close()


def _await_ready(
    process: subprocess.Popen[bytes], lines: Queue[bytes], log: Path, timeout_s: float
) -> dict[str, Any]:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            line = lines.get(timeout=0.1)
        except Empty:
            if process.poll() is not None:
                raise EngineError(
                    f"the engine ended with code {process.returncode} before it was ready; its "
                    f"last lines: {last_lines(log)}"
                ) from None
            continue
        if line.startswith(b'{"ready"'):
            ready: dict[str, Any] = json.loads(line)["ready"]
            return ready
    raise EngineError(
        f"the engine was not ready after {timeout_s:.0f} s; its last lines: {last_lines(log)}"
    )


def _forward_lines(pipe: IO[bytes], lines: Queue[bytes]) -> None:
    for line in pipe:
        lines.put(line)


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
