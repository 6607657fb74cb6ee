"""The one result type of this room."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from scipy import special

from speedbench.errors import CallError

Scale = Literal["log", "linear", "logit"]


@dataclass(frozen=True)
class Interval:
    """A value with an interval of level `confidence`, and where they come from.

    Attributes
    ----------
    value : float
        NaN where undefined, with the reason in `note`.
    low, high : float
        NaN where no interval can be given (n < 2), with the reason in `note`.
    n : int
        Independent units behind it (prompts, unless `note` says otherwise).
    confidence : float
        Level of the two-sided interval.
    method : str
        How the interval was made.
    note : str
        What must be said beside it.
    se, df : float
        Standard error on `scale`, and degrees of freedom of its Student's t; NaN if unknown.
    scale : {"log", "linear", "logit"}
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float = 0.95
    method: str = ""
    note: str = ""
    se: float = math.nan
    df: float = math.nan
    scale: Scale = "linear"

    @classmethod
    def undefined(cls, note: str, confidence: float = 0.95) -> Interval:
        """Return the interval of something that cannot be computed.

        >>> from speedbench.stats import Interval
        >>> Interval.undefined("no prompt").n
        0
        """
        return cls(math.nan, math.nan, math.nan, 0, confidence, "", note)

    @classmethod
    def from_pivot(
        cls,
        value: float,
        se: float,
        df: float,
        n: int,
        *,
        confidence: float = 0.95,
        scale: Scale = "log",
        method: str = "",
        note: str = "",
    ) -> Interval:
        """Return the Student's t interval with standard error `se` on `scale`.

        >>> from speedbench.stats import Interval
        >>> found = Interval.from_pivot(2.0, 0.1, 9, 10, scale="linear")
        >>> round(found.low, 3), round(found.high, 3)
        (1.774, 2.226)
        """
        low, high = _t_bounds(value, se, df, confidence, scale)
        return cls(value, low, high, n, confidence, method, note, se, df, scale)

    def at(self, confidence: float) -> Interval:
        """Return the interval at another level, by Student's t from `se` and `df`.

        >>> from speedbench.stats import Interval
        >>> Interval.from_pivot(2.0, 0.1, 9, 10).at(0.99).low < 1.6
        True
        """
        if not 0 < confidence < 1:
            raise CallError(f"a confidence of {confidence} is not between 0 and 1")
        low, high = _t_bounds(self.value, self.se, self.df, confidence, self.scale)
        return replace(self, low=low, high=high, confidence=confidence)

    def noted(self, note: str) -> Interval:
        """Return the same interval with one more remark."""
        if not note:
            return self
        return replace(self, note=f"{self.note}; {note}" if self.note else note)


def _t_bounds(
    value: float, se: float, df: float, confidence: float, scale: Scale
) -> tuple[float, float]:
    if math.isnan(se) or math.isnan(df) or math.isnan(value):
        return math.nan, math.nan
    reach = t_quantile(df, (1 + confidence) / 2) * se
    if scale == "linear":
        return value - reach, value + reach
    # An enormous reach is an interval without an end, not an overflow.
    factor = math.exp(reach) if reach < 700 else math.inf
    if scale == "log":
        return value / factor, value * factor
    odds = value / (1 - value)
    # Rounding must not carry a bound across the value.
    return min(odds / (factor + odds), value), max(1 / (1 + 1 / (odds * factor)), value)


def on_scale(value: float, scale: Scale) -> float:
    """Return the value, its logarithm, or the logarithm of its odds."""
    if scale == "linear":
        return value
    return math.log(value) if scale == "log" else math.log(value / (1 - value))


def t_quantile(df: float, level: float) -> float:
    """Return the quantile of Student's t; the normal one at infinite df."""
    return float(special.ndtri(level) if math.isinf(df) else special.stdtrit(df, level))


def t_below(t: float, df: float) -> float:
    """Return P(T <= t) of Student's t; the normal one at infinite df."""
    return float(special.ndtr(t) if math.isinf(df) else special.stdtr(df, t))
