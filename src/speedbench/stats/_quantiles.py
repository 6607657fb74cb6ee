"""Intervals for means and quantiles of values, clustered in prompts or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from speedbench.errors import CallError, TraceError
from speedbench.stats._interval import Interval, t_quantile
from speedbench.stats._jackknife import degrees_of_freedom, jackknife, ratio
from speedbench.stats._ratios import share_interval
from speedbench.stats._sums import Method, sums_interval

Floats = NDArray[np.float64]


def mean_interval(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    method: Method = "auto",
    note: str = "",
) -> Interval:
    """Return the mean of the values that are defined, with its interval.

    Parameters
    ----------
    values : (m,) array_like
        NaN values are left out, and the note counts them.
    clusters : (m,) array_like of int, optional
        The prompt of each value; default: every value is independent.

    Returns
    -------
    Interval
        `n` counts clusters.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.stats import mean_interval
    >>> found = mean_interval([1.0, 2.0, 3.0, float("nan")], rng=np.random.default_rng(0))
    >>> found.value, found.n, found.note
    (2.0, 3, '1 undefined values left out')
    """
    defined, groups, said = _defined(values, clusters)
    remark = "; ".join(part for part in (note, said) if part)
    sums = np.bincount(groups, weights=defined)
    counts = np.bincount(groups).astype(np.float64)
    return sums_interval(
        np.stack([sums, counts], axis=1),
        lambda s: s[..., 0] / s[..., 1],
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        method=method,
        scale="linear",
        weights=counts,
        note=remark,
    )


def quantile_interval(
    values: ArrayLike,
    q: float,
    *,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    note: str = "",
) -> Interval:
    """Return a quantile of the values that are defined, with its interval.

    Independent values get the distribution-free interval between two order statistics, whose
    coverage is binomial and never below nominal; where the sample is too small to bound the
    quantile on one side, that bound is NaN and the note says so.  Clustered values get the
    quantiles at q -+ t se, where se is the delete-one-cluster error of the share of values up to
    the quantile (Woodruff 1952), with Student's t as in `sums_interval`.

    Parameters
    ----------
    values : (m,) array_like
    q : float
        In (0, 1).
    clusters : (m,) array_like of int, optional
        The prompt (or block) of each value; default: every value is independent.
    rng, n_resamples
        Of the same signature as the other intervals; nothing is resampled here.

    Notes
    -----
    David and Nagaraja (2003), section 7.1; docs/decisions/0016.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.stats import quantile_interval
    >>> found = quantile_interval(np.arange(1.0, 101.0), 0.5, rng=np.random.default_rng(0))
    >>> found.value, found.low, found.high
    (50.5, 40.0, 61.0)
    >>> quantile_interval([1.0, 2.0, 3.0], 0.99, rng=np.random.default_rng(0)).high
    nan
    """
    if not 0 < q < 1:
        raise CallError(f"a quantile of {q} is not between 0 and 1")
    defined, groups, said = _defined(values, clusters)
    remark = "; ".join(part for part in (note, said) if part)
    if not len(defined):
        return Interval.undefined(remark or "no value is defined", confidence)
    value = float(np.quantile(defined, q))
    n = int(groups.max()) + 1
    if clusters is not None and n < len(defined):
        unit, method = "clusters", "Woodruff"
        low, high = _woodruff_bounds(defined, groups, q, value, rng, confidence)
    else:
        unit, method = "values", "order statistics"
        low, high = _order_bounds(np.sort(defined), q, confidence)
    found = Interval(value, low, high, n, confidence, method, remark)
    open_below, open_above = bool(np.isnan(low)), bool(np.isnan(high))
    if open_below or open_above:
        side = "above" if not open_below else "below" if not open_above else "on either side"
        return found.noted(f"{n} {unit} cannot bound it {side}")
    return found


def _defined(values: ArrayLike, clusters: ArrayLike | None) -> tuple[Floats, NDArray[np.intp], str]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or np.isinf(array).any():
        raise TraceError("values must be one row of numbers, none infinite")
    groups = np.arange(len(array)) if clusters is None else np.asarray(clusters)
    if groups.shape != array.shape:
        raise TraceError(f"{groups.shape} clusters were given for {array.shape} values")
    keep = ~np.isnan(array)
    lost = int(len(array) - keep.sum())
    _, numbered = np.unique(groups[keep], return_inverse=True)
    return array[keep], numbered, f"{lost} undefined values left out" if lost else ""


def _order_bounds(ordered: Floats, q: float, confidence: float) -> tuple[float, float]:
    """Return order statistics x_(r), x_(s) with P(B < r) <= a and P(B >= s) <= a, B ~ Bin(n, q)."""
    n = len(ordered)
    alpha = (1 - confidence) / 2
    at_most = special.bdtr(np.arange(n), n, q)
    r = int(np.searchsorted(at_most, alpha, side="right"))
    s = int(np.searchsorted(at_most, 1 - alpha, side="left")) + 1
    low = float(ordered[r - 1]) if r >= 1 else float("nan")
    high = float(ordered[s - 1]) if s <= n else float("nan")
    return low, high


def _woodruff_bounds(
    values: Floats,
    groups: NDArray[np.intp],
    q: float,
    value: float,
    rng: np.random.Generator,
    confidence: float,
) -> tuple[float, float]:
    """Return the quantiles at q -+ t se, se that of the share of values up to the quantile."""
    counts = np.bincount(groups).astype(np.float64)
    if len(counts) < 2:
        return float("nan"), float("nan")
    below = np.bincount(groups, weights=values <= value)
    _, se = jackknife(np.stack([below, counts], axis=1), ratio)
    if se > 1e-12:
        reach = t_quantile(degrees_of_freedom(len(counts), counts), (1 + confidence) / 2) * se
        shares = (q - reach, q + reach)
    else:
        # Every cluster has the same share below: no spread to go by.
        alike = share_interval(below, counts, rng=rng, confidence=confidence)
        shares = (alike.low, alike.high)
    low, high = (float(np.quantile(values, p)) if 0 < p < 1 else float("nan") for p in shares)
    return low, high
