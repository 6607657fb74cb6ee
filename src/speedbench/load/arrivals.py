"""When requests arrive in an open loop: pure functions of a rate and a random generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speedbench.errors import CallError


def poisson_arrivals(rate_rps: float, n: int, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return `n` arrival times of a Poisson process, in seconds, beginning with the first gap.

    Parameters
    ----------
    rate_rps : float
        Arrivals per second, above 0.
    n : int
        How many.
    rng : numpy.random.Generator
        Decides the gaps: the same generator gives the same times.

    Returns
    -------
    ndarray, shape (n,)
        Ascending, in seconds since the load began.

    Raises
    ------
    CallError
        For a rate that is not a positive, finite number.

    Examples
    --------
    >>> poisson_arrivals(2.0, 3, rng=np.random.default_rng(0)).round(3)
    array([0.34, 0.85, 0.86])
    """
    return np.cumsum(rng.exponential(1.0 / _checked(rate_rps), n))


def constant_arrivals(rate_rps: float, n: int) -> NDArray[np.float64]:
    """Return `n` evenly spaced arrival times, in seconds, the first at 0.

    Raises
    ------
    CallError
        For a rate that is not a positive, finite number.

    Examples
    --------
    >>> constant_arrivals(2.0, 3)
    array([0. , 0.5, 1. ])
    """
    return np.arange(n) / _checked(rate_rps)


def recorded_arrivals(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return recorded arrival times in order, moved so that the first is at 0.

    Raises
    ------
    CallError
        When there is none, or one is not a finite number.

    Examples
    --------
    >>> recorded_arrivals(np.array([7.5, 7.0, 9.0]))
    array([0. , 0.5, 2. ])
    """
    if not len(times_s) or not np.isfinite(times_s).all():
        raise CallError("recorded arrivals must be finite times in seconds, at least one")
    ordered = np.sort(times_s)
    return np.asarray(ordered - ordered[0])


def _checked(rate_rps: float) -> float:
    if not (np.isfinite(rate_rps) and rate_rps > 0):
        raise CallError(f"a rate of {rate_rps} requests per second is no load")
    return rate_rps
