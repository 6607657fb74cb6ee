"""A process between us and a server that makes sure the server never outlives us.

    python keeper.py LOG COMMAND...

It starts the command in a process group of its own, output into LOG, and waits.  When its standard
input ends, which happens also when we are killed, it ends the group: first politely, after a grace
by force.  On Linux it is the reaper of the server's descendants, so that those which left the group
are found too, and the server itself is killed if the keeper is.

On standard output it writes JSON lines: when the server has started, and when it has ended by
itself.  It is run as a file and imports nothing but the standard library, so it starts at once.
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

GRACE_S = 10.0
POLL_S = 0.1
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def main() -> None:
    """Keep the command of the call."""
    log, *command = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us to handle
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with open(log, "ab") as output:
        try:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_keeper if sys.platform == "linux" else None,
            )
        except OSError as error:
            _say({"failed": f"{command[0]}: {error.strerror}"})
            return
    signal.signal(signal.SIGTERM, _leave)
    try:
        _say({"pid": server.pid})
        _wait(server)
    finally:
        _end(server)


def _leave(*_: object) -> None:
    """End the wait: somebody wants us to go."""
    raise SystemExit


def _wait(server: subprocess.Popen[bytes]) -> None:
    """Return when our input has ended, or the server has."""
    os.set_blocking(0, False)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while server.poll() is None:
            if selector.select(POLL_S) and not os.read(0, 4096):
                return
    _say({"code": server.returncode})


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the group, and whatever has left it."""
    _signal_group(server.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + GRACE_S
    while time.monotonic() < deadline_s and (server.poll() is None or _descendants()):
        _reap(server)
        time.sleep(POLL_S / 2)
        if server.poll() is not None and not _group_alive(server.pid):
            break
    _signal_group(server.pid, signal.SIGKILL)
    for _ in range(100):
        left = _descendants()
        for pid in left:
            _signal(pid, signal.SIGKILL)
        _reap(server)
        if not left and server.poll() is not None:
            return
        time.sleep(POLL_S / 10)


def _descendants() -> list[int]:
    """Return every process below this one, by /proc; none where there is no /proc."""
    parents: dict[int, int] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in names:
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(name)] = int(fields[1])
    found, frontier = [], [os.getpid()]
    while frontier:
        frontier = [pid for pid, parent in parents.items() if parent in frontier]
        found += frontier
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


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _die_with_keeper() -> None:
    """Ask the kernel to kill the server when the keeper ends, however it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(message: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # nobody may listen any more
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
