"""False alarms of the regression test on identical pairs, and its power on real drops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from estimators_simulation import Ints, World, draw_prompts, simulate
from estimators_truth import steps_of

from speedbench.acceptance import Ratio, sums_by
from speedbench.stats import (
    holm,
    paired_launches_ratio_interval,
    paired_ratio_interval,
    superiority,
)

LEVEL = 0.05
CATEGORIES = 11
AT_ONCE = 110_000


@dataclass(frozen=True)
class Alarms:
    """Shares of pairs in which the test fired: on all prompts, and in any category after Holm."""

    fired: float
    fired_any_category: float
    mean_ratio: float
    n_pairs: int


def sampled_lengths(tokens: Ints, cap: int, rng: np.random.Generator) -> Ints:
    """Return lengths of another answer to the same prompts."""
    again = np.rint(tokens * np.exp(0.3 * rng.standard_normal(len(tokens))))
    return np.clip(again, np.minimum(tokens, 1), cap).astype(np.int64)


def pairs(old: World, new: World, n_prompts: int, n_pairs: int, seed: int) -> Alarms:
    """Run both worlds on the same prompts, again and again, and test AL for a drop."""
    rng = np.random.default_rng(seed)
    fired, fired_any, ratios = [], [], []
    per_batch = max(1, AT_ONCE // n_prompts)
    for start in range(0, n_pairs, per_batch):
        runs = min(per_batch, n_pairs - start)
        kinds, tokens = draw_prompts(old, runs * n_prompts, rng)
        arms = [
            sums_by(steps_of(simulate(w, kinds, sampled_lengths(tokens, w.cap, rng), rng)))
            for w in (old, new)
        ]
        for run in range(runs):
            rows = np.arange(run * n_prompts, (run + 1) * n_prompts)
            before, after = (arm.take(rows).al_per_step for arm in arms)
            found = drop(before, after, slice(None), rng)
            ratios.append(found[0])
            fired.append(found[1] <= LEVEL)
            each = [
                drop(before, after, slice(c, None, CATEGORIES), rng)[1] for c in range(CATEGORIES)
            ]
            fired_any.append(bool((holm(each) <= LEVEL).any()))
    return Alarms(float(np.mean(fired)), float(np.mean(fired_any)), float(np.mean(ratios)), n_pairs)


def drop(before: Ratio, after: Ratio, rows: slice, rng: np.random.Generator) -> tuple[float, float]:
    """Return new / old AL per step and the p-value of a drop."""
    found = paired_ratio_interval(
        after.num[rows], after.den[rows], before.num[rows], before.den[rows], rng=rng
    )
    return found.value, superiority(found, 1.0, "less").p_value


def launch_alarms(n_pairs: int, seed: int, *, launches: int = 3, n: int = 88) -> dict[str, float]:
    """Return how often identical engines differ in speed at 5%, two-sided, by what is resampled.

    Every launch of the server is 2% faster or slower than the next (standard deviation), every
    prompt costs what it costs, every cell has 3% of its own.
    """
    rng = np.random.default_rng(seed)
    fired = {"launches and prompts": 0, "pigeonhole": 0, "prompts only": 0}
    for _ in range(n_pairs):
        cost = np.exp(0.3 * rng.standard_normal(n))
        tokens = np.rint(np.clip(np.exp(4 + 0.6 * rng.standard_normal(n)), 1, 256))

        def arm(cost: np.ndarray = cost, tokens: np.ndarray = tokens) -> np.ndarray:
            effect = np.exp(0.02 * rng.standard_normal((launches, 1)))
            noise = np.exp(0.03 * rng.standard_normal((launches, n)))
            return 0.02 * tokens * cost * effect * noise

        a, b = arm(), arm()
        counts = np.tile(tokens, (launches, 1))
        both = paired_launches_ratio_interval(a, counts, b, counts, rng=rng)
        pigeon = paired_launches_ratio_interval(
            a, counts, b, counts, rng=rng, method="pigeonhole", n_resamples=400
        )
        alone = paired_ratio_interval(
            a.sum(axis=0), counts.sum(axis=0), b.sum(axis=0), counts.sum(axis=0), rng=rng
        )
        for name, found in zip(fired, (both, pigeon, alone), strict=True):
            fired[name] += not found.low <= 1.0 <= found.high
    return {name: count / n_pairs for name, count in fired.items()}
