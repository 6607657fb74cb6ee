"""Intervals for ratios of sums over prompts: plain, share, paired, and differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from speedbench.errors import TraceError
from speedbench.stats._interval import Interval
from speedbench.stats._jackknife import columns, pair_weights, paired, ratio, ratio_of_ratios
from speedbench.stats._sums import Method, sums_interval


def ratio_interval(
    num: ArrayLike,
    den: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    method: Method = "auto",
    note: str = "",
) -> Interval:
    """Return Σ num / Σ den over prompts, with its interval.

    Parameters
    ----------
    num, den : (n,) array_like
        Sums of each prompt, such as tokens and steps.  Prompts with nothing in the denominator
        carry no information and are left out of `n`.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.stats import ratio_interval
    >>> found = ratio_interval([30, 26, 31, 29], [10, 12, 10, 12], rng=np.random.default_rng(0))
    >>> round(found.value, 3), found.method
    (2.636, 'jackknife-t')
    """
    table = columns(num, den)
    table = table[table[:, 1] > 0]
    return sums_interval(
        table,
        ratio,
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        method=method,
        weights=table[:, 1],
        note=note,
    )


def share_interval(
    num: ArrayLike,
    den: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    note: str = "",
) -> Interval:
    """Return Σ num / Σ den, where num counts some of what den counts, with an interval in [0, 1].

    For acceptance rates and the like.  The standard error is the delete-one-prompt one, carried to
    the log odds, with Student's t as in `sums_interval`.  Where every prompt has the same share, as
    at 0 or at 1, there is no spread to go by: the bounds are those of Clopper and Pearson (1934)
    with each prompt as one trial, which is cautious.

    Parameters
    ----------
    num, den : (n,) array_like
        Counts of each prompt, such as accepted at a position, and at risk there.
    rng : numpy.random.Generator
    n_resamples : int
        Of the same signature as the other intervals; nothing is resampled here.

    Raises
    ------
    TraceError
        More in the numerator than in the denominator.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.stats import share_interval
    >>> found = share_interval([9, 7, 8, 9], [10, 10, 10, 10], rng=np.random.default_rng(0))
    >>> round(found.value, 3), round(found.low, 2), round(found.high, 2)
    (0.825, 0.62, 0.93)
    >>> sure = share_interval([5, 9, 4], [5, 9, 4], rng=np.random.default_rng(0))
    >>> sure.value, round(sure.low, 2), sure.high
    (1.0, 0.29, 1.0)
    """
    table = columns(num, den)
    table = table[table[:, 1] > 0]
    wrong = (table[:, 0] > table[:, 1]) | (table[:, 0] < 0)
    if wrong.any():
        top, bottom = table[int(np.argmax(wrong))]
        raise TraceError(f"a share of {top:g} out of {bottom:g} cannot be")
    found = sums_interval(
        table,
        ratio,
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        method="jackknife-t",
        scale="linear",
        weights=table[:, 1],
        note=note,
    )
    if found.n < 2:
        return found
    p = found.value
    # What is left of a spread of nothing is rounding.
    if found.se > 1e-12:
        se = found.se / (p * (1 - p))
        return Interval.from_pivot(
            p,
            se,
            found.df,
            found.n,
            confidence=confidence,
            scale="logit",
            method="jackknife-t",
            note=found.note,
        )
    tail, hits, misses = (1 - confidence) / 2, found.n * p, found.n * (1 - p)
    low = float(special.betaincinv(hits, misses + 1, tail)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, misses, 1 - tail)) if misses > 0 else 1.0
    alike = Interval(p, low, high, found.n, confidence, "Clopper-Pearson over prompts", note)
    return alike.noted("every prompt agrees")


def paired_ratio_interval(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike,
    den_b: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    method: Method = "auto",
    note: str = "",
) -> Interval:
    """Return (Σ num_a / Σ den_a) / (Σ num_b / Σ den_b) over the same prompts, with its interval.

    Measured speedup is one: a = decode seconds and tokens without SD, b = with.  Prompts are
    resampled whole, so what makes a prompt hard for both cancels.  Prompts that lack data on one
    side are left out, and the note counts them.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.stats import paired_ratio_interval
    >>> found = paired_ratio_interval([4.0, 6.0, 5.0], [100, 150, 120], [2.0, 3.2, 2.4],
    ...                               [100, 150, 120], rng=np.random.default_rng(0))
    >>> round(found.value, 3), found.n
    (1.974, 3)
    """
    table, said = paired(columns(num_a, den_a, num_b, den_b))
    return sums_interval(
        table,
        ratio_of_ratios,
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        method=method,
        weights=pair_weights(table),
        note="; ".join(part for part in (note, said) if part),
    )


def difference_interval(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike,
    den_b: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    method: Method = "auto",
    note: str = "",
) -> Interval:
    """Return Σ num_a / Σ den_a - Σ num_b / Σ den_b over the same prompts, with its interval.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.stats import difference_interval
    >>> found = difference_interval([30, 26, 31], [10, 10, 10], [28, 25, 28], [10, 10, 10],
    ...                             rng=np.random.default_rng(0))
    >>> round(found.value, 3)
    0.2
    """
    table, said = paired(columns(num_a, den_a, num_b, den_b))
    return sums_interval(
        table,
        lambda s: s[..., 0] / s[..., 1] - s[..., 2] / s[..., 3],
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        method=method,
        scale="linear",
        weights=pair_weights(table),
        note="; ".join(part for part in (note, said) if part),
    )
