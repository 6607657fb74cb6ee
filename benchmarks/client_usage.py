"""CPU time and memory of a whole tree of processes, and what else the machine did meanwhile.

Linux only: it reads /proc, and the processes' CPU clocks, which count nanoseconds.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class Sample:
    """Where things stood at one moment; CPU times only ever grow."""

    at_ns: int
    tree_cpu_ns: int
    server_cpu_ns: int
    own_cpu_ns: int
    machine_cpu_ns: int
    rss_bytes: int
    n_processes: int


@dataclass(frozen=True)
class Usage:
    """What a client used in a window of time, and its peak over its whole life.

    `cpu_to_end_s` goes on to the client's end: with what it had put off until the load was over.
    `rss_mb` sums the resident sets of the tree's processes: a page that they share counts once for
    each.  `others` is what the rest of the machine used, in cores.
    """

    cpu_s: float
    cpu_to_end_s: float
    server_cpu_s: float
    rss_mb: float
    n_processes: int
    others: float


def cpu_clock_ns(pid: int) -> int:
    """Return the CPU time of a process, threads that have ended included; 0 of none.

    The clock of another process has the number that clock_getcpuclockid(3) gives it.
    """
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)
    except OSError:
        return 0


def sample(root: int, server: int) -> Sample:
    """Look at the tree under `root`, at the server, at ourselves and at the machine."""
    tree = _tree(root)
    return Sample(
        at_ns=time.monotonic_ns(),
        tree_cpu_ns=sum(cpu_clock_ns(pid) + _ended_children_ns(pid) for pid in tree),
        server_cpu_ns=cpu_clock_ns(server),
        own_cpu_ns=time.process_time_ns(),
        machine_cpu_ns=_machine_cpu_ns(),
        rss_bytes=sum(_rss_bytes(pid) for pid in tree),
        n_processes=len(tree),
    )


def usage(samples: list[Sample], begin_ns: int, end_ns: int) -> Usage:
    """Return what was used between two moments, by straight lines between samples."""
    at_ns = np.array([s.at_ns for s in samples])
    window_s = (end_ns - begin_ns) / 1e9

    def spent_s(cpu_ns: list[int], until_ns: int = end_ns) -> float:
        # A tree that has ended reads as nothing: what it had used stays used.
        grown = np.maximum.accumulate(np.array(cpu_ns))
        begin, end = np.interp([begin_ns, until_ns], at_ns, grown)
        return float(end - begin) / 1e9

    tree_s = spent_s([s.tree_cpu_ns for s in samples])
    to_end_s = spent_s([s.tree_cpu_ns for s in samples], samples[-1].at_ns)
    server_s = spent_s([s.server_cpu_ns for s in samples])
    machine_s = spent_s([s.machine_cpu_ns for s in samples])
    own_s = spent_s([s.own_cpu_ns for s in samples])
    return Usage(
        cpu_s=tree_s,
        cpu_to_end_s=to_end_s,
        server_cpu_s=server_s,
        rss_mb=max(s.rss_bytes for s in samples) / 1e6,
        n_processes=max(s.n_processes for s in samples),
        others=max(0.0, machine_s - tree_s - server_s - own_s) / window_s,
    )


def _tree(root: int) -> list[int]:
    pids = [root]
    for pid in pids:  # grows while it is walked
        try:
            threads = os.listdir(PROC / str(pid) / "task")
        except OSError:
            continue
        for thread in threads:
            children = _text(PROC / str(pid) / "task" / thread / "children")
            pids += map(int, children.split())
    return pids


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended since it was listed
        return ""


def _ended_children_ns(pid: int) -> int:
    fields = _text(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * TICK_NS if fields else 0


def _rss_bytes(pid: int) -> int:
    fields = _text(PROC / str(pid) / "statm").split()
    return int(fields[1]) * PAGE_BYTES if fields else 0


def _machine_cpu_ns() -> int:
    """Return what all cores together have worked: user, nice, system, both kinds of interrupts."""
    fields = [int(field) for field in _text(PROC / "stat").split("\n", 1)[0].split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) * TICK_NS
