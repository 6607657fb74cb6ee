"""Latency of decode steps, at the batch size that the engine ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import TraceError
from speedbench.timing._streams import Streams

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StepLatency:
    """Seconds of pure decode steps at one batch size.

    `n` counts engine iterations, and `batch` is NaN where all batch sizes are pooled.
    """

    batch: float
    mean_s: float
    median_s: float
    std_s: float
    n: int


def step_latency(
    seconds: ArrayLike,
    *,
    batch: ArrayLike | None = None,
    mixed: ArrayLike | None = None,
    iteration: ArrayLike | None = None,
    warm_up: int = 0,
) -> list[StepLatency]:
    """Return step latency per batch size, over iterations that decode and do nothing else.

    Parameters
    ----------
    seconds : (n,) array_like
        Wall time of the engine iteration each step ran in; NaN rows (no time known) are left out.
    batch : (n,) array_like of int, optional
        Requests in that iteration.  Without it all steps are pooled, with `batch` NaN.
    mixed : (n,) array_like of bool, optional
        The iteration also held a prefill: left out.
    iteration : (n,) array_like of int, optional
        What names the iteration, such as the stamp of its end: the requests of one batch share it,
        and it counts once.  Without it every row is an iteration.
    warm_up : int
        Iterations to leave out at the start, in the order of `iteration` (or of the rows).

    Returns
    -------
    list of StepLatency
        By rising batch size; empty where nothing qualifies.

    Examples
    --------
    Two requests share two iterations; the first also held a prefill:

    >>> from speedbench.timing import step_latency
    >>> step_latency([0.30, 0.30, 0.02, 0.02, 0.01], batch=[2, 2, 2, 2, 1],
    ...              mixed=[True, True, False, False, False], iteration=[1, 1, 2, 2, 3])
    ... # doctest: +NORMALIZE_WHITESPACE
    [StepLatency(batch=1.0, mean_s=0.01, median_s=0.01, std_s=nan, n=1),
     StepLatency(batch=2.0, mean_s=0.02, median_s=0.02, std_s=nan, n=1)]
    """
    times = np.asarray(seconds, np.float64)
    n = len(times)
    if (times < 0).any() or np.isinf(times).any():
        raise TraceError(f"step {int(np.argmax((times < 0) | np.isinf(times)))}: impossible time")
    rows = np.arange(n)
    if iteration is not None:
        _, rows = np.unique(_column(iteration, n, "iteration"), return_index=True)
    rows = rows[warm_up:]
    if mixed is not None:
        rows = rows[~_column(mixed, n, "mixed").astype(np.bool_)[rows]]
    rows = rows[~np.isnan(times[rows])]
    if batch is None:
        return [_latency(float("nan"), times[rows])] if len(rows) else []
    sizes = _column(batch, n, "batch")[rows]
    return [_latency(float(b), times[rows][sizes == b]) for b in np.unique(sizes)]


def step_seconds_from_stamps(streams: Streams) -> Floats:
    """Return the time each chunk took since the one before it, NaN for a request's first.

    Where one chunk is one step (checked by evidence, not assumed) this is the step latency that a
    client sees; TTFT is never in it, because a first chunk has no predecessor.

    Examples
    --------
    >>> from speedbench.timing import Streams, step_seconds_from_stamps
    >>> step_seconds_from_stamps(Streams.from_arrays(
    ...     [0, 0, 1], [0, 1_000_000_000, 5], [1, 4, 1], sent_ns=[0, 0]))
    array([nan,  1., nan])
    """
    gaps = np.full(len(streams.at_ns), np.nan)
    if len(gaps) > 1:
        inside = np.diff(streams.request) == 0
        gaps[1:][inside] = np.diff(streams.at_ns)[inside] * 1e-9
    return gaps


def batch_at(streams: Streams, at_ns: ArrayLike | None = None) -> NDArray[np.int64]:
    """Return how many requests were decoding when each chunk arrived.

    A request decodes after its first chunk and up to its last one; the chunk that arrives counts
    itself.  This is the client's view, an upper bound of what the engine batched.

    Parameters
    ----------
    streams : Streams
    at_ns : array_like of int, optional
        Instants to ask about; default: the stamp of every chunk, in the order of `streams`.

    Examples
    --------
    >>> from speedbench.timing import Streams, batch_at
    >>> batch_at(Streams.from_arrays([0, 0, 0, 1, 1], [1, 5, 9, 3, 6], [1] * 5, sent_ns=[0, 0]))
    array([0, 2, 1, 1, 2])
    """
    has = streams.n_chunks > 0
    starts = np.sort(streams.first_ns[has])
    ends = np.sort(streams.last_ns[has])
    when = np.asarray(streams.at_ns if at_ns is None else at_ns, np.float64)
    begun = np.searchsorted(starts, when, side="left")
    ended = np.searchsorted(ends, when, side="left")
    decoding: NDArray[np.int64] = np.maximum(begun - ended, 0).astype(np.int64)
    return decoding


def _column(values: ArrayLike, n: int, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (n,):
        raise TraceError(f"column {name} has shape {array.shape}, and ({n},) is needed")
    return array


def _latency(batch: float, times: Floats) -> StepLatency:
    return StepLatency(
        batch=batch,
        mean_s=float(times.mean()),
        median_s=float(np.median(times)),
        std_s=float(times.std(ddof=1)) if len(times) > 1 else float("nan"),
        n=len(times),
    )
