"""What of this machine bears on stamps: clocks, descriptors, cores, frequency, neighbours."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from speedbench.client.connection import (
    ANCILLARY_BYTES,
    SO_TIMESTAMPNS,
    STAMPS_IN_KERNEL,
    kernel_stamp,
)
from speedbench.client.limits import UNKNOWN, most_descriptors
from speedbench.client.vitals import pair_clocks
from speedbench.load.plan import SPARE_DESCRIPTORS

GOOD_PAIRING_NS = 50_000
MIN_CORES = 2
"""The worker needs one of its own; its leader and the rest of the system share another."""
_PROC_STAT = Path("/proc/stat")
_GOVERNORS = Path("/sys/devices/system/cpu")
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_STEAL = 7
"""The place of stolen time among the numbers of a line `cpu` (proc(5))."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about the machine; `good` is False where it limits what can be measured."""

    name: str
    good: bool
    sentence: str


@dataclass(frozen=True)
class CpuTimes:
    """Ticks of all processors since boot: stolen by the hypervisor, and altogether."""

    stolen: int
    total: int


def machine_facts() -> list[Fact]:
    """Look at the machine; what the system does not tell is left out."""
    facts = [_kernel_stamps(), _descriptors(), _cores(), _clocks(), _quota(), _governor()]
    return [fact for fact in facts if fact is not None]


def cpu_times() -> CpuTimes | None:
    """Return the ticks so far, None where the system does not tell."""
    try:
        words = _PROC_STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    ticks = [int(word) for word in words[:8]]
    return CpuTimes(ticks[_STEAL], sum(ticks)) if len(ticks) > _STEAL else None


def stolen_between(before: CpuTimes | None, after: CpuTimes | None) -> Fact | None:
    """Say how much of the processors a hypervisor took meanwhile.

    >>> stolen_between(CpuTimes(0, 0), CpuTimes(5, 100)).sentence
    '5.0% of the processor time went to other guests of this host while the levels ran'
    """
    if before is None or after is None or after.total <= before.total:
        return None
    share = (after.stolen - before.stolen) / (after.total - before.total)
    return Fact(
        name="steal",
        good=share < 0.01,
        sentence=f"{share:.1%} of the processor time went to other guests of this host while the "
        "levels ran",
    )


def kernel_stamps_work() -> bool:
    """Send a byte to ourselves and see whether the kernel stamps it."""
    if not STAMPS_IN_KERNEL:
        return False
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as reader,
    ):
        reader.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        reader.settimeout(1.0)
        writer, _ = listener.accept()
        with writer:
            for _ in range(3):  # stamping begins a moment after it is asked for
                writer.send(b"x")
                _, ancillary, _, _ = reader.recvmsg(1, ANCILLARY_BYTES)
                if kernel_stamp(ancillary):
                    return True
    return False


def _kernel_stamps() -> Fact:
    try:
        good = kernel_stamps_work()
    except OSError:
        good = False
    said = "the kernel stamps what arrives: a client that reads late loses nothing"
    if not good:
        said = (
            "no kernel stamps here: arrivals are stamped after each read, and are late when the "
            "client is"
        )
    return Fact(name="stamps", good=good, sentence=said)


def most_streams() -> int:
    """Return how many streams one process can have open."""
    return most_descriptors() - SPARE_DESCRIPTORS


def _descriptors() -> Fact:
    most, streams = most_descriptors(), most_streams()
    if most == UNKNOWN:
        return Fact(name="descriptors", good=True, sentence="no limit on file descriptors")
    return Fact(
        name="descriptors",
        good=streams >= 1024,
        sentence=f"{most} file descriptors: up to {streams} streams in each worker"
        + ("" if streams >= 1024 else "; ulimit -Hn raises it"),
    )


def n_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cores() -> Fact:
    cores = n_cores()
    said = f"{cores} {'core' if cores == 1 else 'cores'}; a worker fills one at its peak"
    if cores <= MIN_CORES:
        said += ", and here the paced server takes another: a server elsewhere leaves more room"
    return Fact(name="cores", good=cores >= MIN_CORES, sentence=said)


def _clocks() -> Fact:
    spread_ns = pair_clocks()[1]
    return Fact(
        name="clocks",
        good=spread_ns <= GOOD_PAIRING_NS,
        sentence=f"wall and monotonic clock can be paired to {spread_ns / 1e3:.2g} µs",
    )


def _quota() -> Fact | None:
    try:
        quota, period = _CPU_MAX.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    if quota == "max":
        return None
    cores = int(quota) / int(period)
    return Fact(
        name="quota",
        good=False,
        sentence=f"this control group may use {cores:.2g} cores, and is stopped for the rest of "
        f"each {int(period) / 1e3:.0f} ms when it has: stamps suffer",
    )


def _governor() -> Fact | None:
    found = set()
    for path in _GOVERNORS.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            found.add(path.read_text(encoding="ascii").strip())
        except OSError:
            continue
    if not found:
        return None
    good = found == {"performance"}
    advice = "" if good else "; performance makes times steadier"
    return Fact(
        name="governor",
        good=good,
        sentence=f"CPU frequency governor: {', '.join(sorted(found))}{advice}",
    )
