"""Latencies of requests and of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import TraceError
from speedbench.timing._streams import Streams

Floats = NDArray[np.float64]
Start = Literal["sent", "scheduled"]
Convention = Literal["chunk", "amortised", "zero_inside"]

NS = 1e-9


def ttft_s(streams: Streams, since: Start = "sent") -> Floats:
    """Return the time to the first token of every request, in seconds.

    Parameters
    ----------
    streams : Streams
    since : {"sent", "scheduled"}
        From the actual send, or from when the load asked for it: only the second one shows the
        queue in front of a server that cannot keep up.

    Returns
    -------
    (n_requests,) ndarray
        NaN for a request that brought no token.

    Examples
    --------
    >>> from speedbench.timing import Streams, ttft_s
    >>> ttft_s(Streams.from_arrays([0, 0], [2_000_000_000, 3_000_000_000], [1, 2],
    ...                            sent_ns=[500_000_000]))
    array([1.5])
    """
    return (streams.first_ns - streams.since(since)) * NS


def e2e_s(streams: Streams, since: Start = "sent") -> Floats:
    """Return the time to the last token of every request, in seconds; NaN where none came.

    >>> from speedbench.timing import Streams, e2e_s
    >>> e2e_s(Streams.from_arrays([0, 0], [2_000_000_000, 3_000_000_000], [1, 2], sent_ns=[0]))
    array([3.])
    """
    return (streams.last_ns - streams.since(since)) * NS


def decode_seconds_per_token(streams: Streams) -> Floats:
    """Return (last - first) / (tokens - tokens of the first chunk) of every request, in seconds.

    What arrived after the first chunk, divided by how long it took to arrive: neither TTFT nor the
    tokens that came with it are in.

    Returns
    -------
    (n_requests,) ndarray
        NaN where nothing came after the first chunk.

    Examples
    --------
    >>> from speedbench.timing import Streams, decode_seconds_per_token
    >>> decode_seconds_per_token(Streams.from_arrays(
    ...     [0, 0], [2_000_000_000, 3_000_000_000], [2, 4], sent_ns=[0]))
    array([0.25])
    """
    seconds, tokens = _decode(streams)
    return _divide(seconds, tokens)


def user_tps(streams: Streams) -> Floats:
    """Return the decode tokens per second that each user sees; the prefill token is not in.

    The reciprocal of `decode_seconds_per_token`; NaN where nothing came after the first chunk, or
    where everything came at one stamp.

    Examples
    --------
    >>> from speedbench.timing import Streams, user_tps
    >>> user_tps(Streams.from_arrays([0, 0], [2_000_000_000, 3_000_000_000], [2, 4], sent_ns=[0]))
    array([4.])
    """
    seconds, tokens = _decode(streams)
    return _divide(tokens, seconds)


def tpot_s(streams: Streams, convention: Literal["vllm", "arrived"] = "vllm") -> Floats:
    """Return the time per output token of every request, in seconds.

    Parameters
    ----------
    streams : Streams
    convention : {"vllm", "arrived"}
        "vllm" divides (last - first) by all tokens but one, as vLLM's benchmark does: too small
        where the first chunk holds several tokens.  "arrived" is `decode_seconds_per_token`.

    Examples
    --------
    >>> from speedbench.timing import Streams, tpot_s
    >>> tpot_s(Streams.from_arrays([0, 0], [2_000_000_000, 3_000_000_000], [2, 4], sent_ns=[0]))
    array([0.2])
    """
    if convention == "arrived":
        return decode_seconds_per_token(streams)
    seconds, _ = _decode(streams)
    tokens = streams.tokens if streams.counted else np.full(len(streams), np.nan)
    return _divide(seconds, np.asarray(tokens - 1.0, np.float64))


def itl_s(streams: Streams, convention: Convention) -> Floats:
    """Return the gaps between output tokens of all requests, in seconds.

    Parameters
    ----------
    streams : Streams
    convention : {"chunk", "amortised", "zero_inside"}
        "chunk": one value per chunk gap, whatever the chunk holds (a chunk gap, not an inter-token
        latency).  "amortised": each gap divided by the tokens of the chunk that ends it, once for
        each of them.  "zero_inside": the whole gap for the first token of the chunk and 0 for the
        others, which is what a client sees.  The last two have the same mean, and are NaN where
        chunks do not tell their tokens.

    Examples
    --------
    >>> from speedbench.timing import Streams, itl_s
    >>> streams = Streams.from_arrays([0, 0], [0, 1_000_000_000], [1, 2], sent_ns=[0])
    >>> itl_s(streams, "chunk"), itl_s(streams, "amortised"), itl_s(streams, "zero_inside")
    (array([1.]), array([0.5, 0.5]), array([1., 0.]))
    """
    gaps = np.diff(streams.at_ns) * NS
    inside = np.diff(streams.request) == 0
    gaps, tokens = gaps[inside], streams.n_tokens[1:][inside]
    if convention == "chunk":
        return np.asarray(gaps, np.float64)
    if not streams.counted:
        return np.full(len(gaps), np.nan)
    if convention == "amortised":
        return np.asarray(np.repeat(gaps / tokens, tokens), np.float64)
    spread = np.zeros(int(tokens.sum()))
    spread[np.cumsum(tokens) - tokens] = gaps
    return spread


@dataclass(frozen=True, eq=False)
class DecodeSums:
    """Decode seconds and decode tokens per unit (prompt), with the requests they come from.

    `n_undefined` counts requests that brought nothing after the first chunk.
    """

    seconds: Floats
    tokens: Floats
    requests: Floats
    n_undefined: int


def decode_sums_by(
    streams: Streams, unit: ArrayLike | None = None, n_units: int | None = None
) -> DecodeSums:
    """Add up decode seconds and decode tokens per unit; their ratio is pooled seconds per token.

    Parameters
    ----------
    streams : Streams
    unit : (n_requests,) array_like of int, optional
        The prompt of each request; default: every request is its own.
    n_units : int, optional

    Examples
    --------
    >>> from speedbench.timing import Streams, decode_sums_by
    >>> sums = decode_sums_by(Streams.from_arrays(
    ...     [0, 0, 1], [0, 1_000_000_000, 0], [1, 4, 1], sent_ns=[0, 0]), [0, 0])
    >>> sums.seconds, sums.tokens, sums.n_undefined
    (array([1.]), array([4.]), 1)
    """
    index = np.arange(len(streams)) if unit is None else np.asarray(unit)
    if index.shape != (len(streams),) or (index.size and index.dtype.kind not in "iu"):
        raise TraceError(f"units {index.shape} do not number the {len(streams)} requests")
    total = n_units if n_units is not None else (int(index.max()) + 1 if index.size else 0)
    if index.size and (int(index.min()) < 0 or int(index.max()) >= total):
        raise TraceError(f"a unit is outside the {total} units stated")
    seconds, tokens = _decode(streams)
    has = tokens > 0
    return DecodeSums(
        seconds=_added(index[has], seconds[has], total),
        tokens=_added(index[has], tokens[has], total),
        requests=np.bincount(index[has], minlength=total).astype(np.float64),
        n_undefined=int(np.count_nonzero(~has)),
    )


def _decode(streams: Streams) -> tuple[Floats, Floats]:
    seconds = (streams.last_ns - streams.first_ns) * NS
    if not streams.counted:
        return seconds, np.full(len(streams), np.nan)
    return seconds, (streams.tokens - streams.first_tokens).astype(np.float64)


def _added(index: NDArray[Any], values: Floats, total: int) -> Floats:
    return np.bincount(index, weights=values, minlength=total).astype(np.float64, copy=False)


def _divide(num: Floats, den: Floats) -> Floats:
    out = np.full(len(den), np.nan)
    np.divide(num, den, out=out, where=den > 0)
    return out
