"""Figures from a histogram of emitted tokens per chunk or step, in two conventions.

Published runs often keep only this histogram.  Under the *chunk convention* every streamed chunk,
the prefill chunk included, is a step (specdec_bench); ours takes the prefill chunks out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import TraceError


def mean_from_histogram(counts: ArrayLike) -> float:
    """Return the mean number of tokens; `counts[k]` steps emitted k + 1 tokens.  Empty gives NaN.

    >>> from speedbench.acceptance import mean_from_histogram
    >>> mean_from_histogram([2, 0, 2])
    2.0
    """
    histogram = _histogram(counts)
    total = histogram.sum()
    tokens = float(histogram @ np.arange(1, len(histogram) + 1))
    return tokens / float(total) if total else float("nan")


def without_prefill_chunks(counts: ArrayLike, n_prefill: int) -> NDArray[np.int64]:
    """Return the histogram without the chunks that a prefill emitted, one token each.

    >>> from speedbench.acceptance import without_prefill_chunks
    >>> without_prefill_chunks([5, 1, 2], 3)
    array([2, 1, 2])
    """
    histogram = _histogram(counts)
    if not 0 <= n_prefill <= (histogram[0] if len(histogram) else 0):
        raise TraceError(f"{n_prefill} prefill chunks are not among the chunks of one token")
    histogram[0] -= n_prefill
    return histogram


def rates_from_histogram(counts: ArrayLike) -> NDArray[np.float64]:
    """Return AR_i for i = 1 .. γ from counts of steps that emitted 1 .. γ + 1 tokens.

    Right only for chains of one draft length none of whose steps was cut: a step cut short is
    taken for a rejection.

    >>> from speedbench.acceptance import rates_from_histogram
    >>> rates_from_histogram([2, 1, 1])
    array([0.5, 0.5])
    """
    return chunk_convention_rates(counts)[1:]


def chunk_convention_rates(counts: ArrayLike) -> NDArray[np.float64]:
    """Return P(at least k tokens | at least k - 1) for k = 1, 2, ..., as specdec_bench prints it.

    The first is 1 by construction.

    >>> from speedbench.acceptance import chunk_convention_rates
    >>> chunk_convention_rates([2, 1, 1])
    array([1. , 0.5, 0.5])
    """
    histogram = _histogram(counts)
    total = histogram.sum()
    if not total:
        return np.full(len(histogram), np.nan)
    # The ratio of two shares, as printed there: the last digit depends on it.
    share = np.cumsum(histogram[::-1])[::-1] / total
    before = np.concatenate([share[:1], share[:-1]])
    rates = np.full(len(share), np.nan)
    np.divide(share, before, out=rates, where=before > 0)
    return rates


def _histogram(counts: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(counts)
    if array.ndim != 1 or (array < 0).any() or not np.isfinite(array).all():
        raise TraceError("a histogram is a row of counts, none negative and none missing")
    return array.astype(np.int64)
