"""The first-order model of speedup: what a draft costs against what it brings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.acceptance import al_from_rates, constant_rate_al
from speedbench.errors import CallError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BestDraft:
    """The draft length of the highest speedup, and the speedups at 1, 2, ...

    `pays` is whether that speedup is above 1; otherwise speculation is best left off.
    """

    draft_length: int
    speedup: float
    speedups: Floats

    @property
    def pays(self) -> bool:
        """Whether the best speedup is above 1."""
        return self.speedup > 1


def first_order_speedup(
    al: ArrayLike, draft_length: ArrayLike, c_draft: float, c_verify: float
) -> Floats:
    """Return S = AL / (c_verify + DL · c_draft).

    Parameters
    ----------
    al : array_like
        Acceptance length at that draft length.
    draft_length : array_like of int
        DL, tokens drafted one after another.
    c_draft : float
        Cost of one draft pass over the cost of a plain decode step.
    c_verify : float
        Cost of the verification pass over the cost of a plain decode step.

    Notes
    -----
    Eq. 3 of arXiv 2604.09557 with t_sd = (c_verify + DL · c_draft) t_ar.

    Examples
    --------
    >>> from speedbench.acceptance import constant_rate_al
    >>> from speedbench.speedup import first_order_speedup
    >>> round(float(first_order_speedup(constant_rate_al(0.15, 3), 3, 0.05, 1.35)), 3)
    0.784
    """
    _check_costs(c_draft, c_verify)
    lengths = np.asarray(draft_length, np.float64)
    return np.asarray(np.asarray(al, np.float64) / (c_verify + lengths * c_draft))


def best_draft_length(
    rates: ArrayLike, c_draft: float, c_verify: float, *, max_draft_length: int | None = None
) -> BestDraft:
    """Return the draft length at which the first-order model gives the highest speedup.

    Parameters
    ----------
    rates : float or (γ,) array_like
        One acceptance rate for every position, or measured conditional rates; with measured rates
        no draft length beyond the measured positions is considered.
    c_draft, c_verify : float
        See `first_order_speedup`.
    max_draft_length : int, optional
        Default: 15 for one rate, γ for measured rates.

    Examples
    --------
    >>> from speedbench.speedup import best_draft_length
    >>> best_draft_length(0.9, 0.12, 1.1, max_draft_length=15).draft_length
    9
    >>> best_draft_length(0.4, 0.12, 1.1, max_draft_length=15).draft_length
    2
    """
    _check_costs(c_draft, c_verify)
    array = np.asarray(rates, np.float64)
    longest = max_draft_length or (15 if array.ndim == 0 else len(array))
    if longest < 1 or (array.ndim and longest > len(array)):
        raise CallError(f"no rates for draft lengths up to {longest}")
    lengths = np.arange(1, longest + 1)
    if array.ndim == 0:
        al = constant_rate_al(array, lengths)
    else:
        al = np.array([float(al_from_rates(array[:length])) for length in lengths])
    speedups = first_order_speedup(al, lengths, c_draft, c_verify)
    if not np.isfinite(speedups).all():
        raise CallError("a rate is undefined: give the positions that were measured only")
    best = int(np.argmax(speedups))
    return BestDraft(int(lengths[best]), float(speedups[best]), speedups)


def relative_costs(
    t_ar_s: float, draft_lengths: ArrayLike, t_sd_s: ArrayLike
) -> tuple[float, float]:
    """Return (c_draft, c_verify) from step times at two or more draft lengths, by least squares.

    Parameters
    ----------
    t_ar_s : float
        Seconds of a plain decode step.
    draft_lengths, t_sd_s : (m,) array_like
        Draft lengths and the seconds of a step at each.

    Examples
    --------
    >>> from speedbench.speedup import relative_costs
    >>> c_draft, c_verify = relative_costs(20.0, [1, 3, 5], [24.4, 29.2, 34.0])
    >>> round(c_draft, 3), round(c_verify, 3)
    (0.12, 1.1)
    """
    lengths = np.asarray(draft_lengths, np.float64)
    times = np.asarray(t_sd_s, np.float64)
    if not t_ar_s > 0 or lengths.shape != times.shape or len(np.unique(lengths)) < 2:
        raise CallError("costs need a positive plain step and steps at two draft lengths or more")
    slope, base = np.polyfit(lengths, times / t_ar_s, 1)
    return float(slope), float(base)


def _check_costs(c_draft: float, c_verify: float) -> None:
    if not (c_draft >= 0 and c_verify > 0):
        raise CallError(f"costs c_draft {c_draft} and c_verify {c_verify} cannot be")
