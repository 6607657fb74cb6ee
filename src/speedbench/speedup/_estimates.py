"""Speedup as an estimate: Eq. 3 (proxy), the paired ratio (measured), and their disagreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import CallError, TraceError
from speedbench.stats import (
    Interval,
    combine,
    paired_launches_ratio_interval,
    paired_ratio_interval,
    sums_interval,
)

Floats = NDArray[np.float64]


def projected_speedup(al: ArrayLike, t_ar_s: ArrayLike, t_sd_s: ArrayLike) -> Floats:
    """Return Eq. 3, S = t_ar · AL / t_sd.

    Parameters
    ----------
    al : array_like
        AL per step, tokens.
    t_ar_s, t_sd_s : array_like
        Seconds per decode step without and with SD, at one batch size and ISL; any one unit does.

    Notes
    -----
    arXiv 2604.09557, Eq. 3.

    Examples
    --------
    >>> from speedbench.speedup import projected_speedup
    >>> round(float(projected_speedup(2.6, 25.2, 59.9)), 2)
    1.09
    """
    lengths, ar, sd = (np.asarray(v, np.float64) for v in (al, t_ar_s, t_sd_s))
    if (lengths <= 0).any() or (ar <= 0).any() or (sd <= 0).any():
        raise CallError("an acceptance length and step times are positive")
    return np.asarray(ar * lengths / sd)


def exact(value: float, n: int = 0) -> Interval:
    """Return a number taken as known, for use where an interval is wanted.

    >>> from speedbench.speedup import exact
    >>> exact(0.02).high
    0.02
    """
    return Interval(value, value, value, n, 1.0, "taken as exact", "", 0.0, float("inf"), "log")


def proxy_speedup(
    al: Interval, t_ar_s: Interval, t_sd_s: Interval, *, confidence: float = 0.95, note: str = ""
) -> Interval:
    """Return Eq. 3 with its interval, from three independent estimates.

    Parameters
    ----------
    al, t_ar_s, t_sd_s : Interval
        From `speedbench.stats`, or `exact`.  The variances of their logarithms add up.

    Examples
    --------
    >>> from speedbench.speedup import exact, proxy_speedup
    >>> from speedbench.stats import Interval
    >>> found = proxy_speedup(Interval.from_pivot(2.6, 0.02, 79, 80), exact(25.2), exact(59.9))
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
    (1.09, 1.05, 1.14)
    """
    factors = [(al, 1.0), (t_ar_s, 1.0), (t_sd_s, -1.0)]
    found = combine(factors, confidence=confidence, note=note)
    return found if al.n == 0 else _with_n(found, al.n)


def measured_speedup(
    ar_seconds: ArrayLike,
    ar_tokens: ArrayLike,
    sd_seconds: ArrayLike,
    sd_tokens: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    note: str = "",
) -> Interval:
    """Return decode seconds per token without SD / with SD, pooled over the same prompts.

    Parameters
    ----------
    ar_seconds, ar_tokens, sd_seconds, sd_tokens : (P,) array_like
        Decode seconds and tokens of each prompt (`speedbench.timing.decode_sums_by`), in one run
        without SD and one with, at the same load.

    Returns
    -------
    Interval
        It resamples prompts; one launch on each side, so its note says that no between-launch
        variation is in it.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.speedup import measured_speedup
    >>> found = measured_speedup([4.0, 6.0, 5.0], [100, 150, 120], [2.0, 3.2, 2.4],
    ...                          [100, 150, 120], rng=np.random.default_rng(0))
    >>> round(found.value, 3), found.note
    (1.974, 'one launch: no between-launch variation is in it')
    """
    found = paired_ratio_interval(
        ar_seconds,
        ar_tokens,
        sd_seconds,
        sd_tokens,
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        note=note,
    )
    return found.noted("one launch: no between-launch variation is in it")


def measured_speedup_launches(
    ar_seconds: ArrayLike,
    ar_tokens: ArrayLike,
    sd_seconds: ArrayLike,
    sd_tokens: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    note: str = "",
) -> Interval:
    """Return the measured speedup over repeated server launches.

    Parameters
    ----------
    ar_seconds, ar_tokens : (La, P) array_like
        Launches without SD in rows, prompts in columns; a cell whose request failed holds 0, 0.
    sd_seconds, sd_tokens : (Ls, P) array_like
        Launches with SD, over the same prompts.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.speedup import measured_speedup_launches
    >>> found = measured_speedup_launches(
    ...     [[4.0, 6.0, 5.0], [4.1, 6.2, 5.1]], [[100, 150, 120]] * 2,
    ...     [[2.0, 3.2, 2.4], [2.1, 3.2, 2.5]], [[100, 150, 120]] * 2,
    ...     rng=np.random.default_rng(0))
    >>> round(found.value, 3), found.note
    (1.974, '2 and 2 launches')
    """
    return paired_launches_ratio_interval(
        ar_seconds,
        ar_tokens,
        sd_seconds,
        sd_tokens,
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        note=note,
    )


def disagreement(proxy: Interval, measured: Interval, *, confidence: float = 0.95) -> Interval:
    """Return proxy / measured speedup with its interval, from separate data.

    1 means that Eq. 3 told what was measured.  Where both come from the same prompts the interval
    is wider than it need be; `joint_disagreement` uses what they share.

    Examples
    --------
    >>> from speedbench.speedup import disagreement, exact
    >>> round(disagreement(exact(1.61), exact(1.63)).value, 4)
    0.9877
    """
    return combine([(proxy, 1.0), (measured, -1.0)], confidence=confidence)


@dataclass(frozen=True, eq=False, kw_only=True)
class JointProxy:
    """Sums per prompt from one pair of runs, for `joint_disagreement`; all arrays are (P,).

    `*_step_seconds` and `*_steps` are of pure decode steps; `*_seconds` and `*_tokens` are decode
    seconds and tokens as the client saw them; `al_tokens` and `al_steps` those of AL per step.
    """

    ar_step_seconds: ArrayLike
    ar_steps: ArrayLike
    sd_step_seconds: ArrayLike
    sd_steps: ArrayLike
    al_tokens: ArrayLike
    al_steps: ArrayLike
    ar_seconds: ArrayLike
    ar_tokens: ArrayLike
    sd_seconds: ArrayLike
    sd_tokens: ArrayLike


def joint_disagreement(
    sums: JointProxy,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Return proxy / measured speedup from one pair of runs over the same prompts.

    Both figures are recomputed for each set of prompts, so that what they share cancels.  Prompts
    that lack any of the sums are left out, and the note counts them.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.speedup import JointProxy, joint_disagreement
    >>> steps = np.array([100.0, 150.0, 120.0])
    >>> found = joint_disagreement(JointProxy(
    ...     ar_step_seconds=steps * 0.02, ar_steps=steps, sd_step_seconds=steps * 0.01,
    ...     sd_steps=steps / 3, al_tokens=steps, al_steps=steps / 3,
    ...     ar_seconds=steps * 0.021, ar_tokens=steps, sd_seconds=steps * 0.01,
    ...     sd_tokens=steps), rng=np.random.default_rng(0))
    >>> round(found.value, 4)
    0.9524
    """
    arrays = [np.asarray(value, np.float64) for value in vars(sums).values()]
    if any(array.ndim != 1 or array.shape != arrays[0].shape for array in arrays):
        raise TraceError("sums of prompts have different shapes")
    table = np.stack(arrays, axis=1)
    whole = np.asarray((table > 0).all(axis=1), np.bool_)
    lost = int(len(whole) - whole.sum())
    return sums_interval(
        table[whole],
        _proxy_over_measured,
        rng=rng,
        n_resamples=n_resamples,
        confidence=confidence,
        weights=table[whole][:, 9],
        note=f"{lost} prompts without all sums left out" if lost else "",
    )


def _proxy_over_measured(s: Floats) -> Floats:
    proxy = (s[..., 0] / s[..., 1]) * (s[..., 4] / s[..., 5]) / (s[..., 2] / s[..., 3])
    measured = (s[..., 6] / s[..., 7]) / (s[..., 8] / s[..., 9])
    return np.asarray(proxy / measured)


def _with_n(found: Interval, n: int) -> Interval:
    return Interval(
        found.value,
        found.low,
        found.high,
        n,
        found.confidence,
        found.method,
        found.note,
        found.se,
        found.df,
        found.scale,
    )
