"""Tests on intervals, and what many tests at once cost."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import CallError
from speedbench.stats._interval import Interval, on_scale, t_below, t_quantile

Name = TypeVar("Name", bound=Hashable)
Alternative = Literal["greater", "less", "two-sided"]


@dataclass(frozen=True)
class Test:
    """The result of one test.

    `p_value` is NaN where the interval cannot tell its spread: that is neither a pass nor a fail.
    `null` is the value tested against, and `alternative` the side that a small `p_value` supports.
    """

    __test__ = False  # not a test case of pytest

    value: float
    null: float
    alternative: Alternative
    p_value: float
    n: int
    note: str = ""

    def rejects(self, level: float) -> bool:
        """Whether the null hypothesis is rejected at this level; NaN never is."""
        return bool(self.p_value <= level)


def superiority(found: Interval, null: float = 1.0, alternative: Alternative = "greater") -> Test:
    """Test whether a value is above (or below, or off) `null`, by Student's t on its own scale.

    Parameters
    ----------
    found : Interval
        With `se` and `df`, as the functions of this room return it.
    null : float
        1 for ratios, 0 for differences.
    alternative : {"greater", "less", "two-sided"}
        "less" is the regression test: is the ratio new / old below 1?

    Examples
    --------
    >>> from speedbench.stats import Interval, superiority
    >>> test = superiority(Interval.from_pivot(1.10, 0.03, 20, 21))
    >>> round(test.p_value, 4), test.rejects(0.05)
    (0.0024, True)
    """
    if alternative not in ("greater", "less", "two-sided"):
        raise CallError(f"unknown alternative {alternative!r}")
    if not math.isfinite(found.se) or not math.isfinite(found.value):
        note = found.note or "the interval does not tell its spread"
        return Test(found.value, null, alternative, math.nan, found.n, note)
    if found.scale != "linear" and (null <= 0 or (found.scale == "logit" and null >= 1)):
        raise CallError(f"no ratio or share can be {null}")
    distance = on_scale(found.value, found.scale) - on_scale(null, found.scale)
    if found.se == 0:
        t = math.copysign(math.inf, distance) if distance else 0.0
    else:
        t = distance / found.se
    p = {
        "greater": t_below(-t, found.df),
        "less": t_below(t, found.df),
        "two-sided": 2 * t_below(-abs(t), found.df),
    }[alternative]
    return Test(found.value, null, alternative, p, found.n, found.note)


def non_inferiority(found: Interval, margin: float) -> Test:
    """Test whether a ratio new / old is above 1 - margin (a difference above -margin).

    A small p-value says: not worse by the margin or more.

    Examples
    --------
    >>> from speedbench.stats import Interval, non_inferiority
    >>> non_inferiority(Interval.from_pivot(0.995, 0.005, 300, 301), margin=0.02).rejects(0.05)
    True
    """
    if not margin > 0:
        raise CallError(f"a margin of {margin} leaves nothing to tolerate")
    if found.scale == "log" and margin >= 1:
        raise CallError(f"a margin of {margin} tolerates every ratio")
    return superiority(found, 1 - margin if found.scale == "log" else -margin, "greater")


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted for their number, by the step-down method of Holm (1979).

    Rejecting where the adjusted value is at most α keeps the chance of any false alarm at α,
    however the tests depend on each other.  NaN stays NaN and is not counted.

    Examples
    --------
    >>> from speedbench.stats import holm
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    if ((p < 0) | (p > 1)).any():
        raise CallError("a p-value is outside [0, 1]")
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def holm_tests(tests: Mapping[Name, Test]) -> dict[Name, Test]:
    """Return the tests of several categories with their p-values adjusted by `holm`.

    Examples
    --------
    >>> from speedbench.stats import Interval, holm_tests, superiority
    >>> tests = {name: superiority(Interval.from_pivot(ratio, 0.02, 60, 61), 1.0, "less")
    ...          for name, ratio in {"coding": 0.93, "qa": 0.97, "math": 1.01}.items()}
    >>> {name: test.rejects(0.05) for name, test in holm_tests(tests).items()}
    {'coding': True, 'qa': False, 'math': False}
    """
    adjusted = holm([test.p_value for test in tests.values()])
    return {
        name: replace(test, p_value=float(p))
        for (name, test), p in zip(tests.items(), adjusted, strict=True)
    }


def adjusted_confidence(n_comparisons: int, confidence: float = 0.95) -> float:
    """Return the level at which each of n intervals holds so that all hold together (Bonferroni).

    >>> from speedbench.stats import adjusted_confidence
    >>> adjusted_confidence(5)
    0.99
    """
    if n_comparisons < 1:
        raise CallError(f"{n_comparisons} comparisons is no comparison")
    return 1 - (1 - confidence) / n_comparisons


def combine(
    powers: Sequence[tuple[Interval, float]],
    *,
    confidence: float = 0.95,
    note: str = "",
) -> Interval:
    """Return the product of independent positive estimates raised to powers, with its interval.

    The squared standard errors of the logarithms add up, with the degrees of freedom of
    Satterthwaite (1946).  An interval that brings no `se` has it read off its bounds; one whose
    bounds equal its value is taken as exact.

    Parameters
    ----------
    powers : sequence of (Interval, float)
        Estimates from different data; if they share prompts or launches and lean the same way, the
        result is too wide for a quotient and too narrow for a product.

    Returns
    -------
    Interval
        `n` is the smallest n of the factors.

    Examples
    --------
    Eq. 3 from an acceptance length and two step times:

    >>> from speedbench.stats import Interval, combine
    >>> al = Interval.from_pivot(2.5, 0.01, 79, 80)
    >>> t_ar, t_sd = Interval.from_pivot(20, 0.02, 9, 10), Interval.from_pivot(30, 0.02, 9, 10)
    >>> found = combine([(al, 1), (t_ar, 1), (t_sd, -1)])
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (1.667, 1.566, 1.773)
    """
    factors = list(powers)
    bad = [f for f, _ in factors if not (math.isfinite(f.value) and f.value > 0)]
    said = "; ".join(dict.fromkeys(part for part in (note, *(f.note for f, _ in factors)) if part))
    if bad or not factors:
        return Interval.undefined(said or "a factor is undefined", confidence)
    value = math.prod(f.value**power for f, power in factors)
    errors = [(_log_error(f), power) for f, power in factors]
    parts = [((power * se) ** 2, df) for (se, df), power in errors]
    n = min(f.n for f, _ in factors)
    variance = sum(v for v, _ in parts)
    if math.isnan(variance):
        alone = Interval(value, math.nan, math.nan, n, confidence, "", said)
        return alone.noted("a factor has no interval")
    squares = sum(v * v / df for v, df in parts)
    df = variance * variance / squares if squares > 0 else math.inf
    return Interval.from_pivot(
        value,
        math.sqrt(variance),
        df,
        n,
        confidence=confidence,
        method="log-scale sum of variances",
        note=said,
    )


def _log_error(found: Interval) -> tuple[float, float]:
    """Return the standard error of the log and its degrees of freedom."""
    if not math.isnan(found.se) and not math.isnan(found.df):
        slope = {"log": 1.0, "linear": 1 / found.value, "logit": 1 - found.value}[found.scale]
        return found.se * slope, found.df
    if found.low == found.value == found.high:
        return 0.0, math.inf
    if not (found.low > 0 and math.isfinite(found.high)):
        return math.nan, math.nan
    z = t_quantile(math.inf, (1 + found.confidence) / 2)
    return (math.log(found.high) - math.log(found.low)) / (2 * z), math.inf
