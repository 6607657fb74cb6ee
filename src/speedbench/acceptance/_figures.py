"""The acceptance figures, each under its own name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedbench.acceptance._closed import al_from_rates, survival_from_rates
from speedbench.acceptance._steps import Steps
from speedbench.acceptance._sums import Ratio, Sums, sums_by


@dataclass(frozen=True)
class Figure:
    """A number, how many units it comes from, and what must be said beside it.

    `value` is NaN where it is undefined, and `note` says why.
    """

    value: float
    n: int
    note: str = ""


@dataclass(frozen=True, eq=False)
class Rates:
    """A number per draft position 1 .. γ, with the steps behind each; NaN with n = 0 if none."""

    values: NDArray[np.float64]
    n: NDArray[np.int64]
    note: str = ""


def al_per_step(steps: Steps | Sums) -> Figure:
    """Return the tokens emitted per decode step (micro), the AL that Eq. 3 needs.

    Steps without a draft and truncated last steps count; the prefill token does not.  `n` is the
    number of steps; without any the value is NaN.

    Notes
    -----
    arXiv 2604.09557, section 3; docs/explanation/acceptance-length.md.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, al_per_step
    >>> al_per_step(Steps.from_arrays([0, 0, 0, 1], [4, 1, 1, 4]))
    Figure(value=2.5, n=4, note='')
    """
    return _figure(_sums(steps).al_per_step, "no decode step")


def al_per_request(steps: Steps | Sums) -> Figure:
    """Return the mean over requests of their own tokens per step (macro).

    The average that the paper's Table 1 prints.  Requests without a decode step have no AL and are
    left out; `n` is the number of the others.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, al_per_request
    >>> al_per_request(Steps.from_arrays([0, 0, 0, 1], [4, 1, 1, 4]))
    Figure(value=3.0, n=2, note='')
    """
    return _figure(_sums(steps).al_per_request, "no request with a decode step")


def al_given_draft(steps: Steps | Sums) -> Figure:
    """Return the tokens per step over the steps that drafted at least one token.

    NaN where drafted counts are unknown, or where nothing was drafted.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, al_given_draft
    >>> al_given_draft(Steps.from_arrays([0, 0], [3, 1], drafted=[3, 0], accepted=[2, 0]))
    Figure(value=3.0, n=1, note='')
    """
    return _figure(_sums(steps).al_given_draft, "no step drafted anything")


def acceptance_share(steps: Steps | Sums) -> Figure:
    """Return accepted / drafted tokens; `n` is the number drafted.

    It mixes positions, so it depends on the draft length even for one constant rate.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, acceptance_share
    >>> acceptance_share(Steps.from_arrays([0, 0], [3, 1], drafted=[4, 4], accepted=[2, 0]))
    Figure(value=0.25, n=8, note='')
    """
    return _figure(_sums(steps).acceptance_share, "no step drafted anything")


def conditional_rates(steps: Steps | Sums) -> Rates:
    """Return AR_i, P(position i accepted, given i - 1 accepted and i drafted), i = 1 .. γ.

    AR_i = Σ 1[c >= i, a >= i] / Σ 1[c >= i, a >= i - 1]: verdicts hidden by the end of the response
    leave the risk set, as censored times do in the estimator of Kaplan and Meier (1958), and so do
    positions that were not drafted.

    Returns
    -------
    Rates
        Empty, with the reason, for trees and where drafted counts are unknown; NaN at a position
        that was never at risk.

    Examples
    --------
    A step of three accepted drafts, one rejected at once, and one cut by the end of the response
    after two accepted, whose third verdict nobody saw:

    >>> from speedbench.acceptance import Steps, conditional_rates
    >>> rates = conditional_rates(Steps.from_arrays(
    ...     [0, 0, 0], [4, 1, 2], drafted=[3, 3, 3], accepted=[3, 0, 2],
    ...     truncated=[False, False, True]))
    >>> rates.values, rates.n
    (array([0.66666667, 1.        , 1.        ]), array([3, 2, 1]))
    """
    sums = _sums(steps)
    if sums.why_no_rates:
        return _no_rates(sums.why_no_rates)
    return _rates(sums.accepted_at.sum(axis=0), sums.at_risk.sum(axis=0))


def joint(steps: Steps | Sums) -> Rates:
    """Return P(at least i accepted), the running product of the conditional rates.

    `n` is the number at risk at each position.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, joint
    >>> joint(Steps.from_arrays([0, 0], [3, 1], drafted=[2, 2], accepted=[2, 0])).values
    array([0.5, 0.5])
    """
    rates = conditional_rates(steps)
    return Rates(values=survival_from_rates(rates.values), n=rates.n, note=rates.note)


def marginal_rates(steps: Steps | Sums) -> Rates:
    """Return accepted at i / steps that drafted i, as engines' per-position counters give it.

    Not conditional, and too low where responses end inside a draft; given for comparison with an
    engine's own figures.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, marginal_rates
    >>> marginal_rates(Steps.from_arrays([0, 0], [3, 1], drafted=[2, 2], accepted=[2, 0])).values
    array([0.5, 0.5])
    """
    sums = _sums(steps)
    if sums.why_no_rates:
        return _no_rates(sums.why_no_rates)
    return _rates(sums.accepted_at.sum(axis=0), sums.drafted_at.sum(axis=0))


def al_at_full_draft_length(steps: Steps | Sums) -> Figure:
    """Return Eq. 1: the tokens that a step of full draft length would emit were it not cut.

    1 + Σ_i Π_{j<=i} AR_j over the positions 1 .. γ, γ the longest draft.  `n` is the number of
    steps at risk at position 1.

    Notes
    -----
    arXiv 2604.09557, Eq. 1.  It assumes that the draft length does not depend on acceptance: where
    drafts vary, the note says that the figure is conditional on that.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, al_at_full_draft_length
    >>> al_at_full_draft_length(Steps.from_arrays(
    ...     [0, 0, 0], [4, 1, 2], drafted=[3, 3, 3], accepted=[3, 0, 2],
    ...     truncated=[False, False, True]))
    Figure(value=3.0, n=3, note='')
    """
    sums = _sums(steps)
    rates = conditional_rates(sums)
    if rates.note:
        return Figure(float("nan"), 0, rates.note)
    drafted_at = sums.drafted_at.sum(axis=0)
    varies = drafted_at[-1] < sums.steps.sum()
    note = "conditional: draft lengths vary, taken as independent of acceptance" if varies else ""
    return Figure(float(al_from_rates(rates.values)), int(rates.n[0]), note)


def emitted_histogram(steps: Steps) -> NDArray[np.int64]:
    """Return how many steps emitted 0, 1, 2, ... tokens.

    Examples
    --------
    >>> from speedbench.acceptance import Steps, emitted_histogram
    >>> emitted_histogram(Steps.from_arrays([0, 0, 1], [3, 1, 3]))
    array([0, 1, 0, 2])
    """
    return np.bincount(steps.emitted).astype(np.int64)


def _sums(steps: Steps | Sums) -> Sums:
    return steps if isinstance(steps, Sums) else sums_by(steps)


def _figure(ratio: Ratio, empty: str) -> Figure:
    n = int(ratio.den.sum())
    return Figure(ratio.value, n, "" if n else (ratio.note or empty))


def _no_rates(note: str) -> Rates:
    return Rates(np.zeros(0), np.zeros(0, np.int64), note)


def _rates(hits: NDArray[np.float64], tries: NDArray[np.float64]) -> Rates:
    values = np.divide(hits, tries, out=np.full(len(hits), np.nan), where=tries > 0)
    return Rates(values, tries.astype(np.int64))
