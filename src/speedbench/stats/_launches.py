"""Intervals where a run was repeated: server launches crossed with prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import CallError, TraceError
from speedbench.stats._interval import Interval
from speedbench.stats._jackknife import degrees_of_freedom, jackknife, ratio, ratio_of_ratios
from speedbench.stats._ratios import paired_ratio_interval, ratio_interval
from speedbench.stats._resample import resample_counts

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
LaunchMethod = Literal["auto", "jackknife-t", "pigeonhole"]

ONE_LAUNCH = "one launch: no between-launch variation is in it"


def launches_interval(
    num: ArrayLike,
    den: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    method: LaunchMethod = "auto",
    note: str = "",
) -> Interval:
    """Return Σ num / Σ den over launches and prompts, with an interval for both kinds of chance.

    Parameters
    ----------
    num, den : (L, P) array_like
        Sums of each launch (row) and prompt (column).  Prompts that lack data in every launch are
        left out.
    method : {"auto", "jackknife-t", "pigeonhole"}
        As for `paired_launches_ratio_interval`.

    Returns
    -------
    Interval
        `n` counts prompts; the note says how many launches there were.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.stats import launches_interval
    >>> found = launches_interval([[4.0, 6.0, 5.0], [4.2, 6.1, 5.3]], [[100, 150, 120]] * 2,
    ...                           rng=np.random.default_rng(0))
    >>> round(found.value, 4), found.n, found.note
    (0.0414, 3, '2 launches')
    """
    arm = _arm(num, den)
    arm = arm[:, arm[:, :, 1].sum(axis=0) > 0]
    if len(arm) == 1:
        found = ratio_interval(
            arm[0, :, 0],
            arm[0, :, 1],
            rng=rng,
            n_resamples=n_resamples,
            confidence=confidence,
            note=note,
        )
        return found.noted(ONE_LAUNCH)
    said = "; ".join(part for part in (note, f"{len(arm)} launches") if part)
    return _crossed([arm], ratio, rng, n_resamples, confidence, method, said)


def paired_launches_ratio_interval(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike,
    den_b: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    method: LaunchMethod = "auto",
    note: str = "",
) -> Interval:
    """Return (Σ num_a / Σ den_a) / (Σ num_b / Σ den_b) over the same prompts, with launches.

    Parameters
    ----------
    num_a, den_a : (La, P) array_like
        Sums of each launch of a (row) and prompt (column), such as decode seconds and tokens
        without SD.
    num_b, den_b : (Lb, P) array_like
        The same prompts in the launches of b.  Launches of a and b are independent of each other,
        prompts are shared by all.
    method : {"auto", "jackknife-t", "pigeonhole"}
        "jackknife-t" adds the delete-one-launch variances to the delete-one-prompt variance, less
        the variance of single cells that both hold (Cameron, Gelbach and Miller 2011), with the
        degrees of freedom of Satterthwaite (1946).  "pigeonhole" resamples launches and
        prompts independently (Owen 2007).  "auto" is "jackknife-t": a bootstrap of two or three
        launches is too narrow (docs/decisions/0011).

    Returns
    -------
    Interval
        With one launch on a side, its between-launch variation is not in the interval, and the
        note says so.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.stats import paired_launches_ratio_interval
    >>> found = paired_launches_ratio_interval([[4.0, 6.0, 5.0]], [[100, 150, 120]],
    ...     [[2.0, 3.2, 2.4]], [[100, 150, 120]], rng=np.random.default_rng(0))
    >>> round(found.value, 3), found.note
    (1.974, 'one launch: no between-launch variation is in it')
    """
    a, b = _arm(num_a, den_a), _arm(num_b, den_b)
    if a.shape[1] != b.shape[1]:
        raise TraceError(f"{a.shape[1]} prompts on one side and {b.shape[1]} on the other")
    if len(a) == len(b) == 1:
        found = paired_ratio_interval(
            a[0, :, 0],
            a[0, :, 1],
            b[0, :, 0],
            b[0, :, 1],
            rng=rng,
            n_resamples=n_resamples,
            confidence=confidence,
            note=note,
        )
        return found.noted(ONE_LAUNCH)
    in_a, in_b = a[:, :, 1].sum(axis=0) > 0, b[:, :, 1].sum(axis=0) > 0
    both = in_a & in_b
    lost = int((in_a | in_b).sum() - both.sum())
    remarks = [note, f"{len(a)} and {len(b)} launches"]
    if lost:
        remarks.append(f"{lost} prompts without a partner left out")
    if 1 in (len(a), len(b)):
        remarks.append("one launch on one side: its between-launch variation is not in it")
    said = "; ".join(part for part in remarks if part)
    arms = [a[:, both], b[:, both]]
    return _crossed(arms, ratio_of_ratios, rng, n_resamples, confidence, method, said)


def _arm(num: ArrayLike, den: ArrayLike) -> Floats:
    """Return (L, P, 2)."""
    top, bottom = np.asarray(num, np.float64), np.asarray(den, np.float64)
    if top.ndim != 2 or top.shape != bottom.shape or not len(top):
        raise TraceError(f"sums of launches x prompts have shapes {top.shape} and {bottom.shape}")
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        bad = np.argwhere(~(np.isfinite(top) & np.isfinite(bottom)))[0]
        raise TraceError(f"launch {bad[0]}, prompt {bad[1]}: a sum is not a finite number")
    return np.stack([top, bottom], axis=2)


def _crossed(
    arms: Sequence[Floats],
    statistic: Statistic,
    rng: np.random.Generator,
    n_resamples: int,
    confidence: float,
    method: LaunchMethod,
    note: str,
) -> Interval:
    if method not in ("auto", "jackknife-t", "pigeonhole"):
        raise CallError(f"unknown method {method!r}: known are auto, jackknife-t, pigeonhole")
    n = arms[0].shape[1]
    totals = np.concatenate([arm.sum(axis=(0, 1)) for arm in arms])
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(totals))
        if n == 0 or not (np.isfinite(value) and value > 0):
            return Interval.undefined(note, confidence)
        if n < 2:
            alone = Interval(value, np.nan, np.nan, n, confidence, "", note)
            return alone.noted("no interval from one prompt")
        se, df = _crossed_error(arms, statistic, totals)
        chosen = "jackknife-t" if method == "auto" else method
        found = Interval.from_pivot(
            value, se, df, n, confidence=confidence, method=chosen, note=note
        )
        if chosen == "pigeonhole":
            draws = _pigeonhole(arms, statistic, rng, n_resamples)
            low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
            found = replace(found, low=float(low), high=float(high))
    return found


def _crossed_error(
    arms: Sequence[Floats], statistic: Statistic, totals: Floats
) -> tuple[float, float]:
    """Return the standard error of the log, and its degrees of freedom."""

    def pivot(sums: Floats) -> Floats:
        return np.log(statistic(sums))

    by_prompt = np.concatenate([arm.sum(axis=0) for arm in arms], axis=1)
    share = np.mean([arm[:, :, 1].sum(axis=0) / arm[:, :, 1].sum() for arm in arms], axis=0)
    _, prompt_se = jackknife(by_prompt, pivot)
    parts = [(prompt_se**2, degrees_of_freedom(len(by_prompt), share))]
    shared = 0.0
    for position, arm in enumerate(arms):
        launches, prompts = arm.shape[:2]
        if launches < 2:
            continue

        def without(sums: Floats, start: int = 2 * position) -> Floats:
            left = np.repeat(totals[None, :], len(sums), axis=0)
            left[:, start : start + 2] -= sums
            return pivot(left)

        values = without(arm.sum(axis=1))
        spread = float(np.square(values - values.mean()).sum())
        parts.append(((launches - 1) / launches * spread, float(launches - 1)))
        cells = without(arm.reshape(-1, 2)).reshape(launches, prompts)
        alone = cells - cells.mean(axis=0) - cells.mean(axis=1, keepdims=True) + cells.mean()
        freedom = (launches - 1) * (prompts - 1)
        shared += (cells.size - 1) ** 2 / cells.size * float(np.square(alone).sum()) / freedom
    added = sum(v for v, _ in parts)
    squares = sum(v * v / df for v, df in parts)
    df = added * added / squares if squares > 0 else parts[0][1]
    # Never below its largest part: a difference of estimates can come out too small by chance.
    variance = max(added - shared, *(v for v, _ in parts))
    return float(np.sqrt(variance)), float(df)


def _pigeonhole(
    arms: Sequence[Floats], statistic: Statistic, rng: np.random.Generator, n_resamples: int
) -> Floats:
    n = arms[0].shape[1]
    prompts = resample_counts(n, rng, n_resamples)
    totals = [
        np.einsum(
            "rl,rp,lpk->rk",
            resample_counts(len(arm), rng, n_resamples),
            prompts,
            arm,
            optimize=True,
        )
        for arm in arms
    ]
    draws = statistic(np.concatenate(totals, axis=1))
    return draws[np.isfinite(draws)]
