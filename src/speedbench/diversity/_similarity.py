"""How similar a set is on average, with an interval, and beside random draws of the same size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from speedbench.diversity._objective import mean_of
from speedbench.diversity._vectors import Floats, checked, products
from speedbench.errors import CallError


@dataclass(frozen=True)
class MeanSimilarity:
    """Mean cosine similarity over pairs, with an interval.

    Attributes
    ----------
    value : float
        NaN below two prompts.
    low, high : float
        NaN below three prompts.
    n : int
        Prompts.
    confidence : float
    se : float
        Standard error.
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float
    se: float


@dataclass(frozen=True)
class RandomDraws:
    """Mean similarity of random sets of k candidates.

    Attributes
    ----------
    expected : float
        Over all sets of k: the pool's own mean similarity, exactly.
    low, high : float
        Between these lie a share `confidence` of the draws that were made.
    values : (n_draws,) ndarray
        Of each draw, ascending.
    k : int
    confidence : float
    """

    expected: float
    low: float
    high: float
    values: Floats
    k: int
    confidence: float

    def share_at_most(self, value: float) -> float:
        """Return the share of the draws that are no more similar than `value`."""
        return float(np.searchsorted(self.values, value, side="right") / len(self.values))


def mean_similarity_interval(vectors: ArrayLike, *, confidence: float = 0.95) -> MeanSimilarity:
    """Return the mean similarity over pairs, with its delete-one jackknife interval.

    The interval is that of the source the prompts are a random sample of.  A selected set is no
    such sample: there it says how much single prompts weigh, and no more.

    Parameters
    ----------
    vectors : (n, d) array_like
        Unit vectors.
    confidence : float

    Notes
    -----
    A U-statistic of degree two; its jackknife (Arvesen 1969) needs the sums of similarities of each
    row only.  Student's t with n - 1 degrees of freedom.

    Examples
    --------
    >>> from speedbench.diversity import mean_similarity_interval
    >>> found = mean_similarity_interval([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    >>> round(found.value, 3), round(found.low, 2), round(found.high, 2)
    (0.627, -0.26, 1.0)
    """
    if not 0 < confidence < 1:
        raise CallError(f"a confidence of {confidence} is not between 0 and 1")
    rows, lengths = checked(vectors, what="prompts")
    n = len(rows)
    total = rows.sum(axis=0, dtype=np.float64)
    whole = float(total @ total - lengths.sum())
    value = mean_of(whole, n)
    if n < 3:
        return MeanSimilarity(value, math.nan, math.nan, n, confidence, math.nan)
    sums = products(rows, total) - lengths
    without = (whole - 2 * sums) / ((n - 1) * (n - 2))
    se = float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))
    reach = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * se
    # No mean of cosines lies outside [-1, 1].
    low, high = max(value - reach, -1.0), min(value + reach, 1.0)
    return MeanSimilarity(value, low, high, n, confidence, se)


def random_draws(
    vectors: ArrayLike,
    k: int,
    *,
    rng: np.random.Generator,
    n_draws: int = 1000,
    confidence: float = 0.95,
) -> RandomDraws:
    """Return the mean similarity of sets of k drawn without replacement.

    Raises
    ------
    CallError
        k below 2: a set without a pair.
    DataError
        Fewer than k candidates.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.diversity import random_draws
    >>> pool = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
    >>> found = random_draws(pool, 2, rng=np.random.default_rng(0), n_draws=100)
    >>> round(found.expected, 3), found.low, round(found.high, 2)
    (0.627, 0.0, 0.96)
    """
    if k < 2 or n_draws < 1 or not 0 < confidence < 1:
        raise CallError(
            f"{n_draws} draws of {k} at confidence {confidence}: at least 1 draw of 2 prompts is "
            "needed, and a confidence between 0 and 1"
        )
    rows, lengths = checked(vectors, at_least=k)
    n = len(rows)
    total = rows.sum(axis=0, dtype=np.float64)
    values = np.empty(n_draws)
    for draw in range(n_draws):
        chosen = rng.choice(n, k, replace=False)
        s = rows[chosen].sum(axis=0, dtype=np.float64)
        values[draw] = mean_of(float(s @ s - lengths[chosen].sum()), k)
    values.sort()
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    expected = mean_of(float(total @ total - lengths.sum()), n)
    return RandomDraws(expected, float(low), float(high), values, k, confidence)
