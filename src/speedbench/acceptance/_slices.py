"""Acceptance by position in the response, by part of it, without its looping tail, by group."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.acceptance._steps import Steps
from speedbench.acceptance._sums import Sums
from speedbench.errors import CallError, TraceError

Result = TypeVar("Result")


def response_offset(steps: Steps, prefill_tokens: ArrayLike = 1) -> NDArray[np.int64]:
    """Return how many response tokens stood before each step.

    Parameters
    ----------
    steps : Steps
    prefill_tokens : int or (n_requests,) array_like of int
        Tokens that came with the prefill, which precede the first step.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, response_offset
    >>> response_offset(Steps.from_arrays([0, 1, 0, 1], [3, 2, 1, 2]))
    array([1, 1, 4, 3])
    """
    order = np.argsort(steps.request, kind="stable")
    emitted = steps.emitted[order].astype(np.int64)
    before = np.cumsum(emitted) - emitted
    per_request = np.bincount(steps.request, minlength=steps.n_requests)
    first_row = np.concatenate([[0], np.cumsum(per_request)[:-1]]).astype(np.int64)
    occupied = per_request > 0
    base = np.zeros(steps.n_requests, np.int64)
    base[occupied] = before[first_row[occupied]]
    prefill = np.broadcast_to(np.asarray(prefill_tokens, np.int64), (steps.n_requests,))
    offset = np.empty(len(steps), np.int64)
    offset[order] = before
    return offset - (base - prefill)[steps.request]


def by_position(
    steps: Steps, edges: Sequence[int], prefill_tokens: ArrayLike = 1
) -> list[tuple[tuple[int, int], Steps]]:
    """Return the steps whose first token falls in [edge, next edge), for every pair of edges.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, by_position
    >>> parts = by_position(Steps.from_arrays([0, 0, 0], [3, 3, 3]), [0, 5, 100])
    >>> [(span, len(part)) for span, part in parts]
    [((0, 5), 2), ((5, 100), 1)]
    """
    if len(edges) < 2 or any(b <= a for a, b in pairwise(edges)):
        raise CallError("edges of positions must be at least two, and rise")
    offset = response_offset(steps, prefill_tokens)
    return [
        ((low, high), steps.select((offset >= low) & (offset < high)))
        for low, high in pairwise(edges)
    ]


def part_of_steps(
    steps: Steps, answer_starts: ArrayLike, prefill_tokens: ArrayLike = 1
) -> tuple[Steps, Steps]:
    """Split into the steps of the thinking part and of the answer part.

    Parameters
    ----------
    steps : Steps
    answer_starts : (n_requests,) array_like
        Index of the first answer token in each response; NaN where a request marks no parts, whose
        steps are then in neither.  A step belongs to the part of its first token.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, part_of_steps
    >>> thinking, answer = part_of_steps(Steps.from_arrays([0, 0, 0], [3, 3, 3]), [6])
    >>> len(thinking), len(answer)
    (2, 1)
    """
    starts = _per_request(steps, answer_starts)
    offset = response_offset(steps, prefill_tokens)
    with np.errstate(invalid="ignore"):
        return steps.select(offset < starts), steps.select(offset >= starts)


def without_tail(steps: Steps, tail_starts: ArrayLike, prefill_tokens: ArrayLike = 1) -> Steps:
    """Return the steps that end before each response's looping tail.

    Parameters
    ----------
    steps : Steps
    tail_starts : (n_requests,) array_like
        `Loop.start` of each response, NaN where it does not loop.  A step that reaches into the
        tail is left out.

    Examples
    --------
    >>> import math
    >>> from speedbench.acceptance import Steps, without_tail
    >>> len(without_tail(Steps.from_arrays([0, 0, 1], [3, 3, 3]), [4, math.nan]))
    2
    """
    starts = _per_request(steps, tail_starts)
    end = response_offset(steps, prefill_tokens) + steps.emitted
    with np.errstate(invalid="ignore"):
        return steps.select(~(end > starts))


def by_group(
    sums: Sums, labels: Sequence[Hashable], figure: Callable[[Sums], Result]
) -> dict[Hashable, Result]:
    """Return a figure for every group of units, in order of first appearance.

    Parameters
    ----------
    sums : Sums
    labels : sequence of hashable, one per unit
        Category, difficulty, turn, tier: any metadata.  None leaves a unit out.
    figure : callable
        From `Sums` to anything, such as `al_per_step`.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, al_per_step, by_group, sums_by
    >>> sums = sums_by(Steps.from_arrays([0, 1, 2], [4, 2, 1]))
    >>> by_group(sums, ["coding", "qa", "coding"], al_per_step)["coding"].value
    2.5
    """
    if len(labels) != len(sums):
        raise CallError(f"{len(labels)} labels were given for {len(sums)} units")
    rows: dict[Hashable, list[int]] = {}
    for row, label in enumerate(labels):
        if label is not None:
            rows.setdefault(label, []).append(row)
    return {label: figure(sums.take(chosen)) for label, chosen in rows.items()}


def _per_request(steps: Steps, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.shape != (steps.n_requests,):
        raise TraceError(f"{array.shape} values were given for {steps.n_requests} requests")
    return array[steps.request]
