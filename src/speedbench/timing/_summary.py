"""Percentiles with their count, and goodput."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import CallError
from speedbench.timing._latency import Start, e2e_s, tpot_s, ttft_s
from speedbench.timing._streams import Streams
from speedbench.timing._throughput import Window


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of the defined values; `n_undefined` values were NaN and left out."""

    q: tuple[float, ...]
    values: tuple[float, ...]
    mean: float
    n: int
    n_undefined: int

    def at(self, q: float) -> float:
        """Return the percentile q, one of those asked for."""
        return self.values[self.q.index(q)]


def percentiles(values: ArrayLike, q: Sequence[float] = (50, 90, 95, 99)) -> Percentiles:
    """Return percentiles (linear interpolation) with the count behind them.

    Empty input gives NaN with n = 0.  A 99th percentile of fewer than 100 values is close to their
    maximum: the count is there to be read.

    Examples
    --------
    >>> from speedbench.timing import percentiles
    >>> percentiles([1.0, 2.0, 3.0, float("nan")], q=(50,))
    Percentiles(q=(50.0,), values=(2.0,), mean=2.0, n=3, n_undefined=1)
    """
    if any(not 0 <= p <= 100 for p in q):
        raise CallError("percentiles lie in [0, 100]")
    array = np.asarray(values, np.float64).ravel()
    defined = array[~np.isnan(array)]
    asked = tuple(float(p) for p in q)
    if not len(defined):
        nan = float("nan")
        return Percentiles(asked, (nan,) * len(asked), nan, 0, len(array))
    found = tuple(float(v) for v in np.percentile(defined, asked))
    return Percentiles(asked, found, float(defined.mean()), len(defined), len(array) - len(defined))


def goodput_share(
    streams: Streams,
    *,
    ttft_slo_s: float = np.inf,
    tpot_slo_s: float = np.inf,
    e2e_slo_s: float = np.inf,
    since: Start = "scheduled",
) -> float:
    """Return the share of requests that meet every service-level objective given.

    A request without any token meets none; one whose TPOT is undefined because it brought a single
    token meets any TPOT.  Without requests the answer is NaN.

    Examples
    --------
    >>> from speedbench.timing import Streams, goodput_share
    >>> goodput_share(Streams.from_arrays([0, 1], [10**9, 3 * 10**9], [1, 1], sent_ns=[0, 0]),
    ...               ttft_slo_s=2.0)
    0.5
    """
    if not len(streams):
        return float("nan")
    return float(_good(streams, ttft_slo_s, tpot_slo_s, e2e_slo_s, since).mean())


def goodput(
    streams: Streams,
    window: Window | None,
    *,
    ttft_slo_s: float = np.inf,
    tpot_slo_s: float = np.inf,
    e2e_slo_s: float = np.inf,
    since: Start = "scheduled",
) -> float:
    """Return requests per second that meet every objective and end inside the window.

    Examples
    --------
    >>> from speedbench.timing import Streams, goodput, whole_window
    >>> streams = Streams.from_arrays([0, 1], [10**9, 4 * 10**9], [1, 1], sent_ns=[0, 0])
    >>> goodput(streams, whole_window(streams), ttft_slo_s=2.0)
    0.25
    """
    if window is None or window.end_ns <= window.start_ns:
        return float("nan")
    good = _good(streams, ttft_slo_s, tpot_slo_s, e2e_slo_s, since)
    with np.errstate(invalid="ignore"):
        inside = (streams.last_ns > window.start_ns) & (streams.last_ns <= window.end_ns)
    return float(np.count_nonzero(good & inside)) / window.seconds


def _good(
    streams: Streams, ttft_slo_s: float, tpot_slo_s: float, e2e_slo_s: float, since: Start
) -> NDArray[np.bool_]:
    if since not in ("sent", "scheduled"):
        raise CallError(f"latency counts since 'sent' or 'scheduled', not {since!r}")
    tpot = tpot_s(streams, "arrived")
    with np.errstate(invalid="ignore"):
        fast = np.isnan(tpot) | (tpot <= tpot_slo_s)
        return np.asarray(
            (ttft_s(streams, since) <= ttft_slo_s) & (e2e_s(streams, since) <= e2e_slo_s) & fast
        )
