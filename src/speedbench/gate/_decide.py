"""On, off, or cannot tell, for one slice of traffic at one load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from speedbench.errors import CallError
from speedbench.stats import Interval, adjusted_confidence

Verdict = Literal["on", "off", "cannot tell"]

READABLE = 99
"""Above this an upper bound says only that nothing is known; the number itself would mislead."""


@dataclass(frozen=True)
class Candidate:
    """One way to speculate, with its measured speedup at 95% or another level."""

    method: str
    draft_length: int | None
    speedup: Interval

    @property
    def name(self) -> str:
        """Method and draft length, for sentences.

        >>> from speedbench.gate import Candidate
        >>> from speedbench.stats import Interval
        >>> Candidate("draft_model", 3, Interval.undefined("")).name
        'draft_model with draft length 3'
        """
        if self.draft_length is None:
            return self.method
        return f"{self.method} with draft length {self.draft_length}"


@dataclass(frozen=True)
class Decision:
    """What to do, with which candidate (None unless on), and one sentence why.

    `confidence` is the level of each single interval, chosen so that all comparisons hold together.
    """

    verdict: Verdict
    candidate: Candidate | None
    why: str
    confidence: float


def decide(
    candidates: Sequence[Candidate],
    *,
    margin: float = 0.0,
    confidence: float = 0.95,
    n_comparisons: int | None = None,
    what: str = "",
) -> Decision:
    """Decide whether speculation should be on.

    Parameters
    ----------
    candidates : sequence of Candidate
        Every method and draft length measured in this slice at this load.
    margin : float
        Gain below which turning speculation on is not worth it; 0.05 asks for 1.05x.
    confidence : float
        That of all decisions together.
    n_comparisons : int, optional
        Candidates times slices decided together, default: the candidates given.  Each speedup is
        taken at level 1 - (1 - confidence) / n_comparisons (Bonferroni), by Student's t.
    what : str
        The slice, to open the sentence with.

    Returns
    -------
    Decision
        "on" with the highest speedup among the candidates whose lower bound is above 1 + margin;
        "off" where every candidate's upper bound is below 1 + margin, or there is none;
        "cannot tell" otherwise, such as where a speedup or its interval is undefined.

    Notes
    -----
    Bonferroni rather than Holm: a decision needs an interval for each candidate, not only which
    hypotheses fall (docs/decisions/0013).

    Examples
    --------
    >>> from speedbench.gate import Candidate, decide
    >>> from speedbench.stats import Interval
    >>> good = Candidate("draft_model", 3, Interval.from_pivot(1.40, 0.03, 30, 31))
    >>> poor = Candidate("ngram", 3, Interval.from_pivot(0.90, 0.02, 30, 31))
    >>> print(decide([good, poor], margin=0.05, what="coding").why)
    coding: draft_model with draft length 3 gains 1.40x [1.30, 1.50], above 1.05x
    >>> decide([poor], margin=0.05).verdict
    'off'
    """
    comparisons = len(candidates) if n_comparisons is None else n_comparisons
    _check(candidates, margin, comparisons)
    opening = f"{what}: " if what else ""
    if not candidates:
        return Decision("off", None, f"{opening}no way to speculate was measured", confidence)
    level = adjusted_confidence(comparisons, confidence)
    threshold = 1 + margin
    at_level = [(c, _bounds(c.speedup, level)) for c in candidates]
    winners = [(c, i) for c, i in at_level if i.low > threshold]
    if winners:
        best, found = max(winners, key=lambda pair: pair[1].value)
        why = f"{best.name} gains {_text(found)}, above {threshold:.2f}x"
        return Decision("on", best, opening + why, level)
    if all(i.high < threshold for _, i in at_level):
        best, found = max(at_level, key=lambda pair: pair[1].value)
        why = f"even {best.name} gives {_text(found)}, below {threshold:.2f}x"
        return Decision("off", None, opening + why, level)
    return Decision("cannot tell", None, opening + _open_question(at_level, threshold), level)


def _bounds(found: Interval, level: float) -> Interval:
    """Return the interval at the level asked for; a wider one that brings no `se` is kept."""
    if not (math.isnan(found.se) or math.isnan(found.df)):
        return found.at(level)
    if found.confidence >= level:
        return found
    return Interval(found.value, math.nan, math.nan, found.n, level, found.method, found.note)


def _open_question(at_level: Sequence[tuple[Candidate, Interval]], threshold: float) -> str:
    blind = [c for c, i in at_level if math.isnan(i.low) or math.isnan(i.high)]
    open_ones = [(c, i) for c, i in at_level if i.low <= threshold <= i.high]
    if open_ones:
        best, found = max(open_ones, key=lambda pair: pair[1].value)
        return f"{best.name} gives {_text(found)}, which {threshold:.2f}x lies within"
    reason = blind[0].speedup.note or "too little data for an interval"
    return f"{blind[0].name} has no interval ({reason})"


def _text(found: Interval) -> str:
    high = f"{found.high:.2f}" if found.high < READABLE else f">{READABLE}"
    return f"{found.value:.2f}x [{found.low:.2f}, {high}]"


def _check(candidates: Sequence[Candidate], margin: float, comparisons: int) -> None:
    if not margin > -1:
        raise CallError(f"a margin of {margin} asks for no speed at all")
    if comparisons < len(candidates):
        raise CallError(f"{comparisons} comparisons cannot hold {len(candidates)} candidates")
