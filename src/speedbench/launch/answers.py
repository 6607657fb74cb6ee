"""Two sets of answers to the same prompts, held against each other.  Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from speedbench.records import Counts, Response

STANDARD_ERRORS = 6.0
"""A difference of acceptance counts only beyond so many standard errors, and beyond `MATTERS`.

With eight prompts the ratio follows Student's t with 7 degrees of freedom, which passes 6 once in
2,000 times.
"""
MATTERS = 0.2
COLLAPSED = 0.25
"""Below this part of the other share no scatter between prompts explains a difference."""
ENOUGH = 30
"""Accepted tokens in the larger share from which on a collapse is told."""
FEWEST = 10
"""Accepted tokens by which equal answers must differ at least before a share of them counts."""


def counts_of(response: Response) -> Counts:
    """Return what was drafted and accepted in one answer; None where that is not told.

    >>> counts_of(Response(chunks=())).drafted is None
    True
    """
    if response.counts is not None and response.counts.drafted is not None:
        return response.counts
    steps = response.steps
    if not steps or any(step.drafted is None or step.accepted is None for step in steps):
        return Counts()
    return Counts(
        drafts=sum(bool(step.drafted) for step in steps),
        drafted=sum(step.drafted or 0 for step in steps),
        accepted=sum(step.accepted or 0 for step in steps),
    )


def compared(
    one: Sequence[Response], other: Sequence[Response]
) -> tuple[float, float, bool] | None:
    """Return the accepted share in two sets of answers to the same prompts, and if they differ.

    The standard error is the jackknife's over prompts, of the difference: answers to one prompt are
    alike in both.
    """
    pairs = []
    for a, b in zip(one, other, strict=True):
        first, second = counts_of(a), counts_of(b)
        if None in (first.drafted, first.accepted, second.drafted, second.accepted):
            return None
        pairs.append(
            (first.accepted or 0, first.drafted or 0, second.accepted or 0, second.drafted or 0)
        )
    shares = _shares(pairs)
    if shares is None:
        return None
    left_out = [_shares(pairs[:i] + pairs[i + 1 :]) for i in range(len(pairs))]
    differences = [s[0] - s[1] for s in left_out if s is not None]
    most = max(sum(pair[0] for pair in pairs), sum(pair[2] for pair in pairs))
    if min(shares) < COLLAPSED * max(shares) and most >= ENOUGH:
        return (*shares, True)
    n = len(differences)
    if n < 2:
        return (*shares, False)
    mean = sum(differences) / n
    error = math.sqrt((n - 1) / n * sum((d - mean) ** 2 for d in differences))
    gap = abs(shares[0] - shares[1])
    return (*shares, gap > STANDARD_ERRORS * error and gap > MATTERS * max(shares))


def _shares(pairs: Sequence[tuple[int, int, int, int]]) -> tuple[float, float] | None:
    sums = [sum(column) for column in zip(*pairs, strict=True)] or [0, 0, 0, 0]
    if not sums[1] or not sums[3]:
        return None
    return sums[0] / sums[1], sums[2] / sums[3]


def content(response: Response) -> Sequence[int] | str:
    """Return the ids of an answer, or its text where ids are not known."""
    if all(chunk.token_ids is not None for chunk in response.chunks):
        return [token for chunk in response.chunks for token in chunk.token_ids or ()]
    return "".join(chunk.text for chunk in response.chunks)


def first_difference(one: Sequence[object], other: Sequence[object]) -> int | None:
    """Return the index at which two sequences part; None where they are the same.

    >>> first_difference([1, 2, 3], [1, 5]), first_difference("ab", "abc"), first_difference("", "")
    (1, 2, None)
    """
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def equal_answers_differ(one: Sequence[Response], other: Sequence[Response]) -> bool:
    """Return whether acceptance differs by more than rounding in a drafter could make it."""
    sums = []
    for answers in (one, other):
        counts = [counts_of(response) for response in answers]
        sums.append((sum(c.accepted or 0 for c in counts), sum(c.drafted or 0 for c in counts)))
    (a, drafted_a), (b, drafted_b) = sums
    shares = a / drafted_a, b / drafted_b
    return abs(a - b) >= FEWEST and abs(shares[0] - shares[1]) > MATTERS * max(shares)
