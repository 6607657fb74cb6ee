"""How repetitive a response is: loops inflate acceptance, so every figure has this beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedbench.errors import CallError


@dataclass(frozen=True)
class Loop:
    """The repeating tail of a response: where it starts, its period, and how many tokens it holds.

    `start` is the first token that only repeats what stood before it, so that the first pass
    through the cycle belongs to the response.
    """

    start: int
    period: int
    n_tokens: int


def distinct_ngram_share(token_ids: Sequence[int] | NDArray[np.integer], n: int = 3) -> float:
    """Return the number of different n-grams over the number of n-grams.

    1.0 means that no n-gram occurs twice; text of a model in a loop goes towards 0.  Fewer than n
    tokens give NaN.  Long honest text falls too, so compare equal lengths.

    Examples
    --------
    >>> from speedbench.acceptance import distinct_ngram_share
    >>> distinct_ngram_share([1, 2, 3, 1, 2, 3, 1, 2])
    0.5
    """
    if n < 1:
        raise CallError(f"an n-gram has at least one token, not {n}")
    ids = np.asarray(token_ids)
    if len(ids) < n:
        return float("nan")
    grams = np.lib.stride_tricks.sliding_window_view(ids, n)
    return len(np.unique(grams, axis=0)) / len(grams)


def find_loop(
    token_ids: Sequence[int] | NDArray[np.integer],
    *,
    max_period: int = 64,
    min_repeats: int = 3,
    min_tokens: int = 16,
) -> Loop | None:
    """Return the cycle that a response ends in, or None.

    A response is looping when its tail repeats with one period for at least `min_repeats` passes
    and `min_tokens` tokens, up to a partial last pass and up to the last token (which may be the
    end-of-sequence).  The longest such tail is returned, with its smallest period.

    Examples
    --------
    >>> from speedbench.acceptance import find_loop
    >>> find_loop([7, 8, 9, *[1, 2, 3, 4] * 5])
    Loop(start=7, period=4, n_tokens=16)
    >>> find_loop(range(100)) is None
    True
    """
    if max_period < 1 or min_repeats < 2:
        raise CallError("a loop has a period of at least 1 and at least 2 passes")
    ids = np.asarray(token_ids)
    for tail in (ids, ids[:-1]):
        found = _longest_cycle(tail, max_period, min_repeats, min_tokens)
        if found is not None:
            start, period = found
            return Loop(start=start, period=period, n_tokens=len(ids) - start)
    return None


def _longest_cycle(
    tail: NDArray[np.integer], max_period: int, min_repeats: int, min_tokens: int
) -> tuple[int, int] | None:
    """Return start and period of the longest repeating tail, the smallest period of equals."""
    longest = min(max_period, len(tail) // min_repeats)
    if longest < 1:
        return None
    # Only a period at which the last token repeats can be that of a cycle.
    periods = np.flatnonzero(tail[-1 - longest : -1][::-1] == tail[-1]) + 1
    best: tuple[int, int] | None = None
    for period in periods.tolist():
        same = tail[period:] == tail[:-period]
        run = len(same) if same.all() else int(np.argmin(same[::-1]))
        start = len(tail) - run
        if run + period < max(min_tokens, min_repeats * period):
            continue
        if best is None or start < best[0]:
            best = (start, period)
    return best
