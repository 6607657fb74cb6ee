"""Resampling of prompts: the bounds of three kinds of bootstrap, on the scale of their pivot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
Bounds = tuple[float, float]

BLOCK = 4_000_000
"""Counts held at once when prompts are resampled: 32 MB."""


def resample_counts(n: int, rng: np.random.Generator, n_resamples: int) -> Floats:
    """Return (n_resamples, n) counts of how often each of n units was drawn."""
    drawn = rng.integers(0, n, size=(n_resamples, n))
    drawn += n * np.arange(n_resamples)[:, None]
    flat = np.bincount(drawn.ravel(), minlength=n * n_resamples)
    return flat.reshape(n_resamples, n).astype(np.float64)


def resampled_totals(table: Floats, rng: np.random.Generator, n_resamples: int) -> Floats:
    """Return (n_resamples, k) totals over prompts drawn with replacement, in blocks of memory."""
    n = len(table)
    block = max(1, BLOCK // n)
    parts = [
        resample_counts(n, rng, min(block, n_resamples - start)) @ table
        for start in range(0, n_resamples, block)
    ]
    return np.concatenate(parts)


def percentile_bounds(
    table: Floats, pivot: Statistic, rng: np.random.Generator, n_resamples: int, levels: Floats
) -> Bounds:
    """Return quantiles of the resamples."""
    return _quantiles(pivot(resampled_totals(table, rng, n_resamples)), levels)


def bca_bounds(
    table: Floats,
    pivot: Statistic,
    without: Floats,
    rng: np.random.Generator,
    n_resamples: int,
    levels: Floats,
) -> Bounds:
    """Return bias-corrected and accelerated quantiles; `without` holds the delete-one values."""
    draws = pivot(resampled_totals(table, rng, n_resamples))
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    centre = float(pivot(table.sum(axis=0)))
    below = np.count_nonzero(draws < centre) + 0.5 * np.count_nonzero(draws == centre)
    z0 = float(special.ndtri(np.clip(below / len(draws), 1e-6, 1 - 1e-6)))
    off = without.mean() - without
    spread = float(np.square(off).sum())
    acceleration = float((off**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    z = z0 + special.ndtri(levels)
    return _quantiles(draws, np.asarray(special.ndtr(z0 + z / (1 - acceleration * z))))


def bootstrap_t_bounds(
    table: Floats,
    pivot: Statistic,
    se: float,
    rng: np.random.Generator,
    n_resamples: int,
    levels: Floats,
) -> Bounds:
    """Return centre - t* se, with t* from resamples studentised by their linearised error."""
    n, k = table.shape
    squares = (table[:, :, None] * table[:, None, :]).reshape(n, k * k)
    totals = resampled_totals(np.concatenate([table, squares], axis=1), rng, n_resamples)
    means, products = totals[:, :k] / n, totals[:, k:].reshape(-1, k, k) / n
    gradient = np.empty_like(means)
    for column in range(k):
        step = np.zeros(k)
        step[column] = 1e-5 * max(abs(float(table[:, column].mean())), 1e-12)
        gradient[:, column] = (pivot(means + step) - pivot(means - step)) / (2 * step[column])
    spread = products - means[:, :, None] * means[:, None, :]
    variance = np.einsum("bi,bij,bj->b", gradient, spread, gradient) / (n - 1)
    centre = float(pivot(table.sum(axis=0)))
    t = (pivot(means) - centre) / np.sqrt(variance)
    low, high = _quantiles(t, levels)
    return centre - high * se, centre - low * se


def _quantiles(draws: Floats, levels: Floats) -> Bounds:
    """Return the quantiles of the finite draws; NaN where most of them are not finite."""
    finite = draws[np.isfinite(draws)]
    if len(finite) < 0.9 * len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, levels)
    return float(low), float(high)
