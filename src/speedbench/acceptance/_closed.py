"""Closed forms: from acceptance rates to acceptance lengths and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import CallError


def survival_from_rates(rates: ArrayLike) -> NDArray[np.float64]:
    """Return the joint acceptance, P(at least i accepted), for i = 1 .. γ.

    Parameters
    ----------
    rates : (..., γ) array_like
        Conditional acceptance rates AR_i in [0, 1]; NaN spreads to every later position.

    Examples
    --------
    >>> from speedbench.acceptance import survival_from_rates
    >>> survival_from_rates([0.5, 0.5, 0.2])
    array([0.5 , 0.25, 0.05])
    """
    array = np.asarray(rates, np.float64)
    if ((array < 0) | (array > 1)).any():
        raise CallError("an acceptance rate is outside [0, 1]")
    return np.asarray(np.cumprod(array, axis=-1), np.float64)


def al_from_rates(rates: ArrayLike) -> NDArray[np.float64]:
    """Return the acceptance length of Eq. 1, 1 + Σ_i Π_{j<=i} AR_j.

    Parameters
    ----------
    rates : (..., γ) array_like
        Conditional acceptance rates; without any position the answer is 1.

    Notes
    -----
    arXiv 2604.09557, Eq. 1.  It holds for drafts of the full length γ.

    Examples
    --------
    >>> from speedbench.acceptance import al_from_rates
    >>> round(float(al_from_rates([0.9, 0.9, 0.9])), 3)
    3.439
    """
    array = np.asarray(rates, np.float64)
    return np.asarray(1.0 + survival_from_rates(array).sum(axis=-1))


def al_from_counts(counts: ArrayLike) -> NDArray[np.float64]:
    """Return Eq. 1 from sums of accepted and at-risk counts, for intervals that resample prompts.

    Parameters
    ----------
    counts : (..., 2 γ) array_like
        Accepted at positions 1 .. γ, then at risk at them (`Sums.eq1_columns` added up).  A
        position that was never at risk gives NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.acceptance import Steps, al_from_counts, sums_by
    >>> from speedbench.stats import sums_interval
    >>> sums = sums_by(Steps.from_arrays([0, 0, 1, 1], [3, 1, 2, 3], drafted=[2] * 4,
    ...                                  accepted=[2, 0, 1, 2]))
    >>> found = sums_interval(sums.eq1_columns(), al_from_counts, rng=np.random.default_rng(0),
    ...                       weights=sums.steps)
    >>> found.value, found.n
    (2.25, 2)
    """
    table = np.asarray(counts, np.float64)
    positions = table.shape[-1] // 2
    hits, tries = table[..., :positions], table[..., positions:]
    rates = np.full(hits.shape, np.nan)
    np.divide(hits, tries, out=rates, where=tries > 0)
    # A numeric derivative may step just outside [0, 1].
    return al_from_rates(np.clip(rates, 0.0, 1.0))


def constant_rate_al(rate: ArrayLike, draft_length: ArrayLike) -> NDArray[np.float64]:
    """Return the acceptance length for one rate at every position, (1 - r^(γ+1)) / (1 - r).

    Parameters
    ----------
    rate : array_like
        In [0, 1].
    draft_length : array_like
        γ >= 0; broadcast against `rate`.

    Notes
    -----
    Leviathan et al. (2023), Eq. 1.  Rates fall or rise with the position in practice, so this is a
    biased extrapolation to other draft lengths; keep per-position rates.

    Examples
    --------
    >>> from speedbench.acceptance import constant_rate_al
    >>> constant_rate_al([0.4, 0.9, 1.0], 3).round(3)
    array([1.624, 3.439, 4.   ])
    """
    r, length = np.broadcast_arrays(
        np.asarray(rate, np.float64), np.asarray(draft_length, np.float64)
    )
    if ((r < 0) | (r > 1)).any() or (length < 0).any():
        raise CallError("a rate must be in [0, 1] and a draft length at least 0")
    # expm1 and log1p keep the digits where r is close to 1.
    with np.errstate(divide="ignore", invalid="ignore"):
        al = -np.expm1((length + 1.0) * np.log(r)) / (1.0 - r)
    return np.where(r >= 1.0, length + 1.0, np.where(r <= 0.0, 1.0, al))


def constant_rate_for_al(al: float, draft_length: int) -> float:
    """Return the constant acceptance rate that a measured AL implies.

    Parameters
    ----------
    al : float
        In [1, γ + 1]; NaN gives NaN.
    draft_length : int
        γ >= 1.

    Raises
    ------
    CallError
        An AL that no rate can give at this draft length.

    Examples
    --------
    >>> from speedbench.acceptance import constant_rate_for_al
    >>> round(constant_rate_for_al(3.439, 3), 6)
    0.9
    """
    if np.isnan(al):
        return float("nan")
    if draft_length < 1 or not 1.0 <= al <= draft_length + 1.0:
        raise CallError(
            f"AL {al} at draft length {draft_length} is impossible: "
            f"it lies in [1, {draft_length + 1}]"
        )
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if float(constant_rate_al(middle, draft_length)) < al:
            low = middle
        else:
            high = middle
    return (low + high) / 2
