"""How the worker itself is doing: its clocks, its processor time, its memory, its pauses."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import Any

from speedbench.client.journal import Vitals

_GOOD_SPREAD_NS = 1_500
_TRIES = 5
STEP_NS = 50_000
"""A wall clock that moved by more than this against the monotonic one was set, not read badly."""


def pair_clocks() -> tuple[int, int]:
    """Return wall clock minus monotonic clock, and how far apart the readings around it were.

    Linux slews both clocks together, so the difference only changes when the wall clock is set.
    """
    best = (0, 1 << 62)
    for _ in range(_TRIES):
        before_ns = monotonic_ns()
        wall_ns = time_ns()
        spread_ns = monotonic_ns() - before_ns
        if spread_ns < best[1]:
            best = (wall_ns - before_ns - spread_ns // 2, spread_ns)
        if spread_ns <= _GOOD_SPREAD_NS:
            break
    return best


class Clocks:
    """Keeps the difference between the clocks, and notices when it changes."""

    def __init__(self) -> None:
        self.offset_ns, self.spread_ns = pair_clocks()
        self.step_ns = 0

    def stepped(self) -> bool:
        """Look again; return whether the wall clock was set since the last look."""
        offset_ns, spread_ns = pair_clocks()
        moved_ns = offset_ns - self.offset_ns
        if abs(moved_ns) > STEP_NS + spread_ns + self.spread_ns:
            self.step_ns += abs(moved_ns)
            self.offset_ns, self.spread_ns = offset_ns, spread_ns
            return True
        if spread_ns <= self.spread_ns:
            self.offset_ns, self.spread_ns = offset_ns, spread_ns
        return False


class PauseMeter:
    """Counts collections of garbage and what they cost; they are off while a load runs."""

    def __init__(self) -> None:
        self.n = self.total_ns = self.longest_ns = 0
        self._began_ns = 0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_ns = monotonic_ns()
            return
        pause_ns = monotonic_ns() - self._began_ns
        self.n += 1
        self.total_ns += pause_ns
        self.longest_ns = max(self.longest_ns, pause_ns)


def vitals(now_ns: int, pauses: PauseMeter, clocks: Clocks) -> Vitals:
    """Return the state of this process."""
    times = os.times()
    n_preempted = 0
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        n_preempted = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return Vitals(
        now_ns,
        times.user,
        times.system,
        _peak_rss_kb(),
        n_preempted,
        pauses.n,
        pauses.total_ns,
        pauses.longest_ns,
        clocks.spread_ns,
        clocks.step_ns,
    )


def _peak_rss_kb() -> int:
    """Return this process's peak memory, 0 where the system does not tell.

    Not from getrusage: Linux lets a program inherit the peak of the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line), 0)
