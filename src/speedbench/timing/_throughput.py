"""Tokens per second across requests, in a window that is always stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedbench.errors import CallError
from speedbench.timing._streams import Streams

NS = 1e-9


@dataclass(frozen=True)
class Window:
    """A span of time, [start_ns, end_ns], and the requests in flight all through it."""

    start_ns: int
    end_ns: int
    concurrency: int

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return (self.end_ns - self.start_ns) * NS


@dataclass(frozen=True)
class Throughput:
    """Tokens per second in a window; NaN where the window is empty."""

    tokens_per_s: float
    n_tokens: int
    window: Window | None


def in_flight(streams: Streams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return instants and how many requests are in flight from each until the next.

    A request is in flight from its send to its last token; one without tokens is not counted.

    >>> from speedbench.timing import Streams, in_flight
    >>> in_flight(Streams.from_arrays([0, 1], [5, 9], [1, 1], sent_ns=[0, 3]))
    (array([0, 3, 5, 9]), array([1, 2, 1, 0]))
    """
    has = streams.n_chunks > 0
    sent = streams.sent_ns[has]
    last = streams.at_ns[streams.starts[1:][has] - 1]
    instants = np.concatenate([sent, last])
    change = np.concatenate([np.ones(len(sent), np.int64), -np.ones(len(last), np.int64)])
    times, index = np.unique(instants, return_inverse=True)
    level = np.cumsum(np.bincount(index, weights=change, minlength=len(times)))
    return times, level.astype(np.int64)


def whole_window(streams: Streams) -> Window | None:
    """Return the span from the first send to the last token; None where no token came.

    >>> from speedbench.timing import Streams, whole_window
    >>> whole_window(Streams.from_arrays([0, 1], [5, 9], [1, 1], sent_ns=[0, 3]))
    Window(start_ns=0, end_ns=9, concurrency=1)
    """
    times, level = in_flight(streams)
    if not len(times):
        return None
    return Window(int(times[0]), int(times[-1]), int(level[:-1].min(initial=level[0])))


def steady_window(streams: Streams, concurrency: int | None = None) -> Window | None:
    """Return the longest span with at least `concurrency` requests in flight.

    Ramp-up and the tail, where the batch is smaller than the load that is claimed, are outside.

    Parameters
    ----------
    streams : Streams
    concurrency : int, optional
        Default: the largest number ever in flight.

    Returns
    -------
    Window or None
        None where that concurrency was never reached.

    Examples
    --------
    >>> from speedbench.timing import Streams, steady_window
    >>> steady_window(Streams.from_arrays([0, 1], [5, 9], [1, 1], sent_ns=[0, 3]))
    Window(start_ns=3, end_ns=5, concurrency=2)
    """
    times, level = in_flight(streams)
    if not len(times):
        return None
    wanted = int(level.max()) if concurrency is None else concurrency
    if wanted < 1:
        raise CallError(f"a concurrency of {wanted} is no load")
    full = np.concatenate([[False], level >= wanted, [False]])
    edges = np.flatnonzero(np.diff(full.astype(np.int8)))
    begin, end = edges[::2], np.minimum(edges[1::2], len(times) - 1)
    if not len(begin):
        return None
    best = int(np.argmax(times[end] - times[begin]))
    return Window(int(times[begin[best]]), int(times[end[best]]), wanted)


def output_tps(streams: Streams, window: Window | None) -> Throughput:
    """Return output tokens per second over a window, prefill tokens included.

    Tokens that arrive after the start and up to the end of the window count.

    Examples
    --------
    >>> from speedbench.timing import Streams, output_tps, whole_window
    >>> streams = Streams.from_arrays([0, 0], [1_000_000_000, 2_000_000_000], [1, 3], sent_ns=[0])
    >>> output_tps(streams, whole_window(streams)).tokens_per_s
    2.0
    """
    if window is None or window.end_ns <= window.start_ns or not streams.counted:
        return Throughput(float("nan"), 0, window)
    inside = (streams.at_ns > window.start_ns) & (streams.at_ns <= window.end_ns)
    tokens = int(streams.n_tokens[inside].sum(dtype=np.int64))
    return Throughput(tokens / window.seconds, tokens, window)


def peak_tps(streams: Streams, span_s: float = 1.0) -> Throughput:
    """Return the most tokens (not chunks) that arrived within any `span_s` seconds, per second.

    Every span that ends at a chunk is tried; spans start after their first instant.  A run shorter
    than the span gives NaN.

    Examples
    --------
    >>> from speedbench.timing import Streams, peak_tps
    >>> peak_tps(Streams.from_arrays([0, 0, 0], [10**9, 2 * 10**9, 21 * 10**8], [1, 3, 3],
    ...                              sent_ns=[0])).tokens_per_s
    6.0
    """
    if not span_s > 0:
        raise CallError(f"a span of {span_s} s is no window")
    whole = whole_window(streams)
    if whole is None or whole.seconds < span_s or not streams.counted:
        return Throughput(float("nan"), 0, None)
    order = np.argsort(streams.at_ns, kind="stable")
    at, tokens = streams.at_ns[order], streams.n_tokens[order]
    total = np.concatenate([[0], np.cumsum(tokens, dtype=np.int64)])
    span_ns = round(span_s / NS)
    # Equal stamps belong together: count up to the last chunk of each stamp.
    upto = np.searchsorted(at, at, side="right")
    counts = total[upto] - total[np.searchsorted(at, at - span_ns, side="right")]
    best = int(np.argmax(counts))
    end = int(at[best])
    return Throughput(
        float(counts[best]) / span_s, int(counts[best]), Window(end - span_ns, end, 0)
    )
