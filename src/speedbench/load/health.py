"""What the load client knows about its own error, from its journals.

Nothing of this is computed while the load runs: the journal holds the stamps of every read and of
every turn of the loop, and once a second what the process cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from speedbench.client.connection import READ_BYTES
from speedbench.client.journal import Began, Opened, Reads, Vitals, arrived_ns, records
from speedbench.load.recording import MEASURED

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TOLERATED = 0.02
"""A client error above this share of a step is said beside every time (DESIGN: self-check)."""
SATURATED = 0.9
SHORTEST_NS = 500_000_000
"""Processor time is counted in hundredths of a second: a shorter interval says too little."""
MS = 1e-6
"""Milliseconds per nanosecond."""


@dataclass(frozen=True)
class SelfCheck:
    """The client's account of itself: figures for the manifest, sentences for the report."""

    facts: dict[str, Any]
    warnings: list[str]


@dataclass(frozen=True)
class _Process:
    """One worker's record of its measured phases, as columns.

    `delay_ns` is from the kernel's stamp to the end of the read, -1 where the kernel gave none;
    `blind_ns` is how long before the read's end its socket was last known to be empty, as far as
    the loop knows; `busy_ns` is what each turn of the loop took after it woke.
    """

    stamps: str
    read_ns: Ints
    delay_ns: Ints
    blind_ns: Ints
    busy_ns: Ints
    n_full_reads: int
    cpu_shares: Floats
    vitals: list[Vitals]


def self_check(journals: Sequence[Path], requests: pl.DataFrame, chunks: pl.DataFrame) -> SelfCheck:
    """Return how far the stamps of a run may be off, and how the client was doing.

    Parameters
    ----------
    journals
        The run's journals.
    requests, chunks
        The tables of its trace.

    Notes
    -----
    The error of a chunk's stamp is bounded by what is known of its read.  With kernel stamps the
    last chunk of a read is exact but for the pairing of the clocks; an earlier one of the same read
    arrived after the stream's last read, and no longer before than reads are late (p99).  Without,
    a chunk may have waited since the socket was last known to be empty, and before that for the
    process to be woken, which nobody knows: the error is then a lower bound, and the verdict is
    never ``faithful``.
    """
    processes = [_process(path) for path in journals]
    errors_ns, n_merged = _chunk_errors(processes, chunks)
    gap_ns = _median_gap_ns(chunks)
    error_ns = _quantile(errors_ns, 99)
    share = error_ns / gap_ns if gap_ns else np.nan
    facts = {
        **_stamp_facts(processes),
        "stamp_error_ms_p50": _quantile(errors_ns, 50) * MS,
        "stamp_error_ms_p99": error_ns * MS,
        "median_chunk_gap_ms": gap_ns * MS,
        "stamp_error_share_of_gap": share,
        "tolerated_share_of_gap": TOLERATED,
        "verdict": _verdict(share, exact=all(p.stamps == "kernel" for p in processes)),
        "merged_chunks": n_merged,
        **_lateness(requests),
        **_process_facts(processes),
    }
    return SelfCheck({name: _rounded(value) for name, value in facts.items()}, _warnings(facts))


def _process(path: Path) -> _Process:
    phase = stamps = ""
    reads: list[tuple[Ints, Ints, Ints]] = []
    busy: list[Ints] = []
    n_full = 0
    vitals: list[Vitals] = []
    shares: list[float] = []
    for record in records(path):
        if isinstance(record, Opened):
            stamps, phase = record.stamps, ""
        elif isinstance(record, Began):
            phase = record.phase
            vitals.append(_no_vitals(record.at_ns))
        elif phase == MEASURED and isinstance(record, Reads):
            read, turns = _columns(record)
            reads.append(read)
            busy.append(turns)
            n_full += sum(len(data) >= READ_BYTES for _, _, _, data in record.reads)
        elif phase == MEASURED and isinstance(record, Vitals):
            if vitals[-1].cpu_user_s >= 0 and record.at_ns - vitals[-1].at_ns > SHORTEST_NS:
                shares.append(_cpu_share(vitals[-1], record))
            vitals.append(record)
    read_ns, delay_ns, blind_ns = (
        np.concatenate([row[i] for row in reads]) if reads else np.zeros(0, np.int64)
        for i in range(3)
    )
    return _Process(
        stamps,
        read_ns,
        delay_ns,
        blind_ns,
        np.concatenate(busy) if busy else np.zeros(0, np.int64),
        n_full,
        np.array(shares),
        [v for v in vitals if v.cpu_user_s >= 0],
    )


def _no_vitals(at_ns: int) -> Vitals:
    """Return a mark that stands between the vitals of two phases."""
    return Vitals(at_ns, -1.0, -1.0, 0, 0, 0, 0, 0, 0, 0)


def _cpu_share(before: Vitals, after: Vitals) -> float:
    used_s = after.cpu_user_s + after.cpu_system_s - before.cpu_user_s - before.cpu_system_s
    return used_s / ((after.at_ns - before.at_ns) * 1e-9)


def _columns(record: Reads) -> tuple[tuple[Ints, Ints, Ints], Ints]:
    """Return read, delay and blind time of each read, and the busy time of each turn."""
    stamps = [(arrived_ns(stamp, record.offset_ns), read) for _, stamp, read, _ in record.reads]
    arrived, read_ns = np.array(stamps, dtype=np.int64).reshape(-1, 2).T
    began_ns, woke_ns, n_reads = np.array(record.wakes, dtype=np.int64).reshape(-1, 3).T
    # A turn that did not have to wait found what may have come at any time since the turn before.
    waited = woke_ns - began_ns > 50_000
    woke_before = np.concatenate([woke_ns[:1], woke_ns[:-1]])
    empty_ns = np.repeat(np.where(waited, woke_ns, woke_before), n_reads)[: len(read_ns)]
    blind_ns = read_ns[: len(empty_ns)] - empty_ns
    delay_ns = np.where(arrived > 0, np.maximum(read_ns - arrived, 0), -1)
    busy_ns = began_ns[1:] - woke_ns[:-1]
    return (read_ns[: len(blind_ns)], delay_ns[: len(blind_ns)], blind_ns), busy_ns


def _chunk_errors(processes: Sequence[_Process], chunks: pl.DataFrame) -> tuple[Floats, int]:
    """Return a bound on the error of each chunk's stamp, and how many share a read with a later."""
    at_ns = chunks["at_ns"].to_numpy()
    request = chunks["request"].to_numpy()
    if not len(at_ns):
        return np.zeros(0), 0
    same = (request[1:] == request[:-1]) & (at_ns[1:] == at_ns[:-1])
    merged = np.append(same, False)  # another chunk of the same read follows
    errors = np.zeros(len(at_ns))
    read_ns = np.concatenate([p.read_ns for p in processes])
    delay_ns = np.concatenate([p.delay_ns for p in processes])
    blind_ns = np.concatenate([p.blind_ns for p in processes])
    if all(p.stamps == "kernel" for p in processes):
        spread = max((v.clock_spread_ns for p in processes for v in p.vitals), default=np.nan)
        late = _quantile(delay_ns[delay_ns >= 0], 99)
        errors[:] = spread
        errors[merged] = np.fmin(_since_last_read(request, at_ns)[merged], late)
    elif len(read_ns):
        order = np.argsort(read_ns, kind="stable")
        where = np.searchsorted(read_ns[order], at_ns).clip(max=len(order) - 1)
        errors[:] = blind_ns[order][where]
    return errors, int(np.count_nonzero(merged))


def _since_last_read(request: Ints, at_ns: Ints) -> Floats:
    """Return, for each chunk, the time since the last earlier read of its stream; inf for none."""
    new = np.ones(len(at_ns), dtype=np.bool_)
    new[1:] = (request[1:] != request[:-1]) | (at_ns[1:] != at_ns[:-1])
    first = np.flatnonzero(new)
    gaps = np.full(len(first), np.inf)
    same = request[first[1:]] == request[first[:-1]]
    gaps[1:][same] = (at_ns[first[1:]] - at_ns[first[:-1]])[same]
    return np.asarray(gaps[np.cumsum(new) - 1])


def _median_gap_ns(chunks: pl.DataFrame) -> float:
    at_ns, request = chunks["at_ns"].to_numpy(), chunks["request"].to_numpy()
    gaps = np.diff(at_ns)[np.diff(request) == 0]
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if len(gaps) else np.nan


def _stamp_facts(processes: Sequence[_Process]) -> dict[str, Any]:
    delay_ns = np.concatenate([p.delay_ns for p in processes] or [np.zeros(0, np.int64)])
    known = delay_ns[delay_ns >= 0]
    vitals = [v for p in processes for v in p.vitals]
    return {
        "stamps": "/".join(sorted({p.stamps for p in processes if p.stamps})) or "none",
        "workers": len(processes),
        "reads": len(delay_ns),
        "reads_without_kernel_stamp": len(delay_ns) - len(known),
        "reads_that_filled_the_buffer": sum(p.n_full_reads for p in processes),
        "read_delay_ms_p50": _quantile(known, 50) * MS,
        "read_delay_ms_p99": _quantile(known, 99) * MS,
        "read_delay_ms_max": _quantile(known, 100) * MS,
        "clock_pairing_ms": max((v.clock_spread_ns for v in vitals), default=np.nan) * MS,
        "clock_steps_ms": max((v.clock_step_ns for v in vitals), default=np.nan) * MS,
    }


def _lateness(requests: pl.DataFrame) -> dict[str, float]:
    """Return how late requests went out after the time they were scheduled for."""
    first = requests.filter(pl.col("attempt") == 0)
    late_ms = (first["sent_ns"] - first["scheduled_ns"]).cast(pl.Float64).to_numpy() * MS
    return {
        "send_lateness_ms_p50": _quantile(late_ms, 50),
        "send_lateness_ms_p99": _quantile(late_ms, 99),
    }


def _process_facts(processes: Sequence[_Process]) -> dict[str, float]:
    busy_ns = np.concatenate([p.busy_ns for p in processes] or [np.zeros(0, np.int64)])
    shares = np.concatenate([p.cpu_shares for p in processes] or [np.zeros(0)])
    last = [p.vitals[-1] for p in processes if p.vitals]
    return {
        "loop_lag_ms_p99": _quantile(busy_ns, 99) * MS,
        "loop_lag_ms_max": _quantile(busy_ns, 100) * MS,
        "cpu_share_mean": float(np.mean(shares)) if len(shares) else np.nan,
        "cpu_share_max": float(np.max(shares)) if len(shares) else np.nan,
        "gc_pauses": sum(v.n_gc for v in last),
        "gc_pause_ms_max": max((v.longest_gc_ns for v in last), default=0) * MS,
        "preempted": sum(v.n_preempted for v in last),
        "peak_rss_mb": sum(v.peak_rss_kb or np.nan for v in last) / 1024 if last else np.nan,
    }


def _verdict(share: float, *, exact: bool) -> str:
    """Return what the error means; without kernel stamps only that it is too large can be known."""
    if share > TOLERATED:
        return "client-limited"
    return "faithful" if exact and share <= TOLERATED else "cannot tell"


def _warnings(facts: dict[str, Any]) -> list[str]:
    said = []
    if facts["verdict"] == "client-limited":
        error_ms, share = facts["stamp_error_ms_p99"], facts["stamp_error_share_of_gap"]
        said.append(
            f"Client-limited: the stamps of this run may be off by {error_ms:.2g} ms (p99), "
            f"{share:.1%} of the median time between chunks; step latencies could be moved by more "
            f"than {TOLERATED:.0%}."
        )
    elif facts["verdict"] == "cannot tell" and facts["stamps"] == "read" and facts["reads"]:
        said.append(
            "Arrivals were stamped after each read, not by the kernel: how late this program was "
            "woken is not known. `speedbench doctor --stamps read` measures it on this machine."
        )
    if facts["cpu_share_max"] > SATURATED:
        said.append(
            f"A worker of the load client used {facts['cpu_share_max']:.0%} of a core at its peak: "
            "give it --workers, or a machine with free cores."
        )
    if facts["clock_steps_ms"] > 0:
        said.append(
            "The wall clock was set during the run; reads around that moment are stamped by the "
            "client instead of the kernel."
        )
    return said


def _rounded(value: Any) -> Any:
    """Return a figure to four digits, which is more than it is worth."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _quantile(values: NDArray[Any], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else np.nan
