"""A process between us and a server that makes sure the server never outlives us.

    python keeper.py GRACE_S LOG COMMAND...

It starts the command in a process group of its own, output into LOG, and waits.  When its standard
input ends, which happens also when we are killed, it ends the group: first politely, after a grace
by force.  On Linux it is the reaper of the server's descendants, so that those which left the group
are found too, and the server itself is killed if the keeper is.

On standard output it writes JSON lines: when the server has started, and when it has ended by
itself.  It is run as a file and imports nothing but the standard library, so it starts at once.
It sleeps while nothing happens: a measurement goes on beside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time

POLL_S = 0.05
KILL_S = 5.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def main() -> None:
    """Keep the command of the call."""
    grace_s, log, *command = sys.argv[1:]
    child_ended = _child_ended()
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        server = _started(command, log)
    except (OSError, subprocess.SubprocessError) as error:
        _say({"failed": f"{command[0]}: {getattr(error, 'strerror', None) or error}"})
        return
    # Only now, or the server would inherit that it is deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    try:
        _say({"pid": server.pid})
        _wait(server, child_ended)
    finally:
        _end(server, float(grace_s))


def _child_ended() -> int:
    """Return a pipe that becomes readable whenever a child has ended."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def _started(command: list[str], log: str) -> subprocess.Popen[bytes]:
    keeper = os.getpid()

    def die_with_keeper() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it died before we asked
            os.kill(os.getpid(), signal.SIGKILL)

    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_keeper if sys.platform == "linux" else None,
        )


def _leave(*_: object) -> None:
    """End the wait: somebody wants us to go."""
    raise SystemExit


def _wait(server: subprocess.Popen[bytes], child_ended: int) -> None:
    """Return when our input has ended, or the server has."""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(child_ended, selectors.EVENT_READ)
        while server.poll() is None:
            for key, _ in selector.select():
                if not os.read(key.fd, 4096):
                    return
    _say({"code": server.returncode})


def _end(server: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the server, its group, and whatever has left that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing may interrupt this
    _signal_all(server, signal.SIGTERM)
    deadline_s = time.monotonic() + grace_s
    while _any_left(server) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    deadline_s = time.monotonic() + KILL_S
    while _any_left(server) and time.monotonic() < deadline_s:
        _signal_all(server, signal.SIGKILL)
        time.sleep(POLL_S)


def _any_left(server: subprocess.Popen[bytes]) -> bool:
    _reap(server)
    return server.poll() is None or _group_alive(server.pid) or bool(_descendants())


def _signal_all(server: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(server.pid, number)
    for pid, group in _descendants():
        if group != server.pid:
            with contextlib.suppress(OSError):
                os.kill(pid, number)


def _descendants() -> list[tuple[int, int]]:
    """Return every process below this one and its group, by /proc; none where there is no /proc."""
    processes = _processes()
    found: list[tuple[int, int]] = []
    frontier = [os.getpid()]
    while frontier:
        frontier = [pid for pid, (parent, _) in processes.items() if parent in frontier]
        found += [(pid, processes[pid][1]) for pid in frontier]
    return found


def _processes() -> dict[int, tuple[int, int]]:
    """Return the parent and the group of every process that runs; empty without /proc."""
    found: dict[int, tuple[int, int]] = {}
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    for name in filter(str.isdecimal, names):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as stat:
            # Behind the name, which may hold anything: state, parent, group.
            state, parent, group = stat.read().rpartition(")")[2].split()[:3]
            if state != "Z":
                found[int(name)] = (int(parent), int(group))
    return found


def _reap(server: subprocess.Popen[bytes]) -> None:
    """Take the exit codes of adopted children, and leave the server's to its Popen."""
    if server.poll() is None:
        return
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _group_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except OSError:
        return False
    return True


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(message: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # nobody may listen any more
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
