"""How many prompts it takes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from speedbench.errors import CallError
from speedbench.stats._jackknife import columns, jackknife, paired, ratio, ratio_of_ratios


def ratio_spread(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike | None = None,
    den_b: ArrayLike | None = None,
) -> float:
    """Return σ such that the log of the ratio has standard error σ / sqrt(n) at n prompts.

    With `num_b` and `den_b` the spread is that of the paired ratio of the two ratios, from a pilot
    run of both over the same prompts.

    Returns
    -------
    float
        NaN for fewer than two prompts.

    Examples
    --------
    >>> from speedbench.stats import ratio_spread
    >>> round(ratio_spread([30, 26, 31, 29], [10, 12, 10, 12]), 3)
    0.17
    """
    if num_b is None or den_b is None:
        table = columns(num_a, den_a)
        table, of = table[table[:, 1] > 0], ratio
    else:
        table, _ = paired(columns(num_a, den_a, num_b, den_b))
        of = ratio_of_ratios
    if len(table) < 2:
        return math.nan
    _, se = jackknife(table, lambda s: np.log(of(s)))
    return se * math.sqrt(len(table))


def power_of_change(
    change: float, n: int, spread: float, *, level: float = 0.05, two_sided: bool = False
) -> float:
    """Return the chance that a test at `level` sees a relative change, from n prompts.

    Parameters
    ----------
    change : float
        Relative: -0.02 is a drop of 2%.
    n : int
    spread : float
        σ of `ratio_spread`.

    Examples
    --------
    >>> from speedbench.stats import power_of_change
    >>> round(power_of_change(-0.02, 880, 0.2), 3)
    0.911
    """
    _check(change, spread, level)
    if n < 2:
        raise CallError(f"{n} prompts cannot test anything")
    shift = abs(math.log1p(change)) * math.sqrt(n) / spread
    critical = float(special.stdtrit(n - 1, 1 - (level / 2 if two_sided else level)))
    # Noncentral t, by its normal approximation (Abramowitz and Stegun 26.7.10).
    df = n - 1
    z = (critical * (1 - 1 / (4 * df)) - shift) / math.sqrt(1 + critical**2 / (2 * df))
    return float(special.ndtr(-z))


def prompts_needed(
    change: float,
    spread: float,
    *,
    level: float = 0.05,
    power: float = 0.8,
    two_sided: bool = False,
) -> int:
    """Return the smallest number of prompts at which a test sees a relative change.

    Examples
    --------
    How many prompts to see a 2% drop in AL, when the pilot's paired spread is 0.2:

    >>> from speedbench.stats import prompts_needed
    >>> prompts_needed(-0.02, 0.2)
    608
    """
    _check(change, spread, level)
    if not 0 < power < 1:
        raise CallError(f"a power of {power} is not between 0 and 1")
    low, high = 1, 2
    while power_of_change(change, high, spread, level=level, two_sided=two_sided) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        seen = power_of_change(change, middle, spread, level=level, two_sided=two_sided)
        low, high = (middle, high) if seen < power else (low, middle)
    return high


def detectable_change(
    n: int, spread: float, *, level: float = 0.05, power: float = 0.8, two_sided: bool = False
) -> float:
    """Return the smallest relative drop that a test sees from n prompts, as a positive share.

    Examples
    --------
    >>> from speedbench.stats import detectable_change
    >>> round(detectable_change(880, 0.2), 4)
    0.0166
    """
    if n < 2 or not (spread > 0 and math.isfinite(spread)):
        raise CallError(f"{n} prompts with a spread of {spread} tell no detectable change")
    low, high = 0.0, 1.0 - 1e-9
    for _ in range(80):
        middle = (low + high) / 2
        if middle == 0:
            break
        seen = power_of_change(-middle, n, spread, level=level, two_sided=two_sided)
        low, high = (middle, high) if seen < power else (low, middle)
    return high


def _check(change: float, spread: float, level: float) -> None:
    if change == 0 or change <= -1 or not math.isfinite(change):
        raise CallError(f"a relative change of {change} is none that a test could see")
    if not (spread > 0 and math.isfinite(spread)):
        raise CallError(f"a spread of {spread} is not a positive number")
    if not 0 < level < 1:
        raise CallError(f"a level of {level} is not between 0 and 1")
