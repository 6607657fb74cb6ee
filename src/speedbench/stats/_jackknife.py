"""The delete-one jackknife over prompts, and the tables it works on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import CallError, TraceError

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]


def jackknife(table: Floats, statistic: Statistic) -> tuple[Floats, float]:
    """Return the delete-one values and their standard error, (n - 1) / n Σ (t_i - mean)^2."""
    without = statistic(table.sum(axis=0) - table)
    n = len(table)
    return without, float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))


def degrees_of_freedom(n: int, weights: ArrayLike | None) -> float:
    """Return (Σw²)² / Σw⁴ (n - 1) / n: those of a variance whose parts go as w²; at least 1.

    Satterthwaite (1946), with n - 1 for equal weights.  A prompt of weight w moves the ratio by w
    times its own deviation, so a few long responses are all that the variance is estimated from.
    """
    if weights is None:
        return float(n - 1)
    w = np.asarray(weights, np.float64)
    if w.shape != (n,):
        raise CallError(f"{w.shape} weights were given for {n} prompts")
    squares = np.square(w / w.max()) if n and w.max() > 0 else np.ones(n)
    return max(float(squares.sum() ** 2 / np.square(squares).sum()) * (n - 1) / n, 1.0)


def ratio(totals: Floats) -> Floats:
    """Return column 0 / column 1."""
    return np.asarray(totals[..., 0] / totals[..., 1])


def ratio_of_ratios(totals: Floats) -> Floats:
    """Return (column 0 / column 1) / (column 2 / column 3)."""
    return np.asarray(totals[..., 0] / totals[..., 1] * totals[..., 3] / totals[..., 2])


def paired(table: Floats) -> tuple[Floats, str]:
    """Return the prompts that have both denominators, and a remark about the others."""
    both = (table[:, 1] > 0) & (table[:, 3] > 0)
    either = (table[:, 1] > 0) | (table[:, 3] > 0)
    lost = int(either.sum() - both.sum())
    return table[both], f"{lost} prompts without a partner left out" if lost else ""


def pair_weights(table: Floats) -> Floats:
    """Return each prompt's mean share of the two denominators."""
    with np.errstate(invalid="ignore"):
        return np.asarray(
            table[:, 1] / table[:, 1].sum() + table[:, 3] / table[:, 3].sum(), np.float64
        )


def columns(*values: ArrayLike) -> Floats:
    """Stack (n,) sums of prompts into (n, k), checking that their lengths agree."""
    arrays = [np.asarray(value, np.float64) for value in values]
    if any(array.ndim != 1 or array.shape != arrays[0].shape for array in arrays):
        raise TraceError(f"sums of prompts have shapes {', '.join(str(a.shape) for a in arrays)}")
    return checked_table(np.stack(arrays, axis=1))


def checked_table(sums: ArrayLike) -> Floats:
    """Return (prompts, quantities) of finite sums, or raise naming the prompt."""
    table = np.asarray(sums, np.float64)
    if table.ndim != 2:
        raise TraceError(f"sums have {table.ndim} dimensions, and (prompts, quantities) is needed")
    if not np.isfinite(table).all():
        row = int(np.argmax(~np.isfinite(table).all(axis=1)))
        raise TraceError(f"prompt {row}: a sum is {table[row][~np.isfinite(table[row])][0]}")
    return table
