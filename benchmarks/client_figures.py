"""From what a client saw and what the server sent to the figures of one run: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from client_server import Pace, Sent
from client_usage import Usage
from numpy.typing import NDArray

Clock = Literal["monotonic", "run", "request"]


@dataclass(frozen=True)
class Seen:
    """What a client saw: a row per chunk that it has a time of.

    `server_ns` is the server's stamp, read out of the chunk; `at_ns` is the client's time of it and
    `start_ns` the client's start of its request.  `found_ns` are all stamps in the answers' texts.

    `clock` says what the client's times count from: "monotonic" from where CLOCK_MONOTONIC does,
    "run" from one unknown moment for all of them, "request" from each request's start.
    `said` is the client's own verdict on its stamps, if it gives one.
    """

    start_ns: NDArray[np.int64]
    server_ns: NDArray[np.int64]
    at_ns: NDArray[np.int64]
    found_ns: NDArray[np.int64]
    clock: Clock
    n_failed: int = 0
    said: str = ""


@dataclass(frozen=True)
class Figures:
    """One run of one client at one level.  NaN is undefined; times may be negative.

    `offered_ratio` is the wall time of an ideal client over this one's, from the first request's
    arrival to the last chunk.  `lost` counts chunks sent but not found, and chunks found twice.
    """

    p50_ms: float
    p99_ms: float
    ttft_p99_ms: float
    us_per_chunk: float
    us_per_chunk_to_end: float
    rss_mb: float
    lost: float
    offered_ratio: float
    received: float
    offered: float
    failed: float
    server_late_p99_ms: float
    server_us_per_chunk: float
    others: float
    n_processes: float
    said: str


def window(sent: Sent) -> tuple[int, int]:
    """Return the first request's arrival and the last chunk's stamp."""
    return int(sent.arrival_ns.min()), int(sent.server_ns.max())


def figures(
    seen: Seen, sent: Sent, used: Usage, pace: Pace, *, n_requests: int, rounds: int
) -> Figures:
    """Return the figures of a run whose server sent `sent` and whose client saw `seen`."""
    place = np.searchsorted(sent.server_ns, seen.server_ns).clip(max=len(sent.server_ns) - 1)
    known = sent.server_ns[place] == seen.server_ns
    place, start_ns, at_ns = place[known], seen.start_ns[known], seen.at_ns[known]
    arrival_ns, server_ns = sent.arrival_ns[place], sent.server_ns[place]
    error_ms = _late_ns(at_ns - server_ns, seen.clock, sent.request[place]) / 1e6
    ttft_error_ns = (at_ns - start_ns) - (server_ns - arrival_ns)
    ttft_error_ms = ttft_error_ns[sent.chunk[place] == 0] / 1e6
    found = seen.found_ns[np.isin(seen.found_ns, sent.server_ns)]
    n_found = len(np.unique(found))
    begin_ns, end_ns = window(sent)
    last_ns = (server_ns + error_ms * 1e6).max(initial=end_ns)
    late_ms = (
        sent.server_ns
        - sent.arrival_ns
        - 1e6 * (pace.ttft_ms + sent.chunk * np.float64(pace.interval_ms))
    ) / 1e6
    return Figures(
        p50_ms=_quantile(error_ms, 0.50),
        p99_ms=_quantile(error_ms, 0.99),
        ttft_p99_ms=_quantile(ttft_error_ms, 0.99),
        us_per_chunk=1e6 * used.cpu_s / max(1, len(sent.server_ns)),
        us_per_chunk_to_end=1e6 * used.cpu_to_end_s / max(1, len(sent.server_ns)),
        rss_mb=used.rss_mb,
        lost=len(sent.server_ns) - n_found + (len(found) - n_found),
        offered_ratio=rounds * pace.answer_s * 1e9 / (last_ns - begin_ns),
        received=n_found,
        offered=n_requests * pace.chunks,
        failed=seen.n_failed,
        server_late_p99_ms=_quantile(late_ms, 0.99),
        server_us_per_chunk=1e6 * used.server_cpu_s / max(1, len(sent.server_ns)),
        others=used.others,
        n_processes=used.n_processes,
        said=seen.said,
    )


def _late_ns(
    behind_ns: NDArray[np.int64], clock: Clock, request: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how late each time is, from how far it is behind the server's stamp.

    A clock that counts from an unknown moment is set by its least late chunk, which is taken to be
    exact: of the run, or of each request.  The error is then a lower bound.
    """
    if clock == "monotonic" or not len(behind_ns):
        return behind_ns
    group = request if clock == "request" else np.zeros_like(request)
    least_ns = np.full(group.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(least_ns, group, behind_ns)
    return behind_ns - least_ns[group]


def medians(runs: list[Figures]) -> Figures:
    """Return the median of each figure over repeats; of losses, failures and memory the most."""
    most = {"lost", "failed", "rss_mb"}
    columns = {f.name: [getattr(run, f.name) for run in runs] for f in fields(Figures)}
    said = ", ".join(sorted(set(columns.pop("said"))))
    joined = {
        name: float(max(values) if name in most else np.median(values))
        for name, values in columns.items()
    }
    return Figures(**joined, said=said)


def _quantile(values: NDArray[np.float64], q: float) -> float:
    return float(np.quantile(values, q)) if len(values) else float("nan")
