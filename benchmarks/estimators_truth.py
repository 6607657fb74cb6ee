"""Bias and coverage of the estimators against exact truth, and of the naive ones beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from estimators_simulation import Batch, Floats, Truth, World, draw_prompts, seconds, simulate

from speedbench.acceptance import Ratio, Steps, Sums, al_from_counts, sums_by
from speedbench.speedup import measured_speedup
from speedbench.stats import Interval, ratio_interval, share_interval, sums_interval

AT_ONCE = 100_000
"""Prompts simulated together."""


@dataclass
class Tally:
    """Estimates of one quantity over many runs, and whether each interval held the truth."""

    name: str
    truth: float
    values: list[float]
    covered: list[bool]

    @property
    def bias(self) -> float:
        return float(np.mean(self.values)) / self.truth - 1

    @property
    def mc_error(self) -> float:
        return float(np.std(self.values, ddof=1)) / np.sqrt(len(self.values)) / self.truth

    @property
    def coverage(self) -> float:
        return float(np.mean(self.covered)) if self.covered else float("nan")

    @property
    def unbiased(self) -> bool:
        return abs(self.bias) <= max(0.002, 3 * self.mc_error)


def steps_of(batch: Batch) -> Steps:
    return Steps.from_arrays(
        batch.request,
        batch.emitted,
        drafted=batch.drafted,
        accepted=batch.accepted,
        truncated=batch.truncated,
        n_requests=len(batch.tokens),
    )


def our_figures(
    sums: Sums,
    times: tuple[Floats, Floats],
    tokens: Floats,
    rng: np.random.Generator,
    **options: str,
) -> dict[str, Interval]:
    """Return every estimate of one run."""

    def of(ratio: Ratio) -> Interval:
        if ratio.is_share and not options:
            return share_interval(ratio.num, ratio.den, rng=rng)
        return ratio_interval(ratio.num, ratio.den, rng=rng, **options)  # type: ignore[arg-type]

    found = {f"AR_{i}": of(sums.rate(i)) for i in range(1, sums.max_draft + 1)}
    found["AL per step"] = of(sums.al_per_step)
    found["AL per request"] = of(sums.al_per_request)
    found["AL, Eq. 1"] = sums_interval(
        sums.eq1_columns(),
        al_from_counts,
        rng=rng,
        weights=sums.steps,
        **options,  # type: ignore[arg-type]
    )
    if not options:
        found["speedup"] = measured_speedup(times[0], tokens, times[1], tokens, rng=rng)
    return found


def true_figures(truth: Truth) -> dict[str, float]:
    named = {f"AR_{i + 1}": float(rate) for i, rate in enumerate(truth.rates)}
    return named | {
        "AL per step": truth.al_per_step,
        "AL per request": truth.al_per_request,
        "AL, Eq. 1": truth.al_eq1,
        "speedup": truth.speedup,
    }


def naive_figures(sums: Sums, emitted_at_least: Floats, requests: int) -> dict[str, float]:
    """Return what is had by taking chunks for steps, and lengths for verdicts."""
    steps, tokens = sums.steps.sum(), sums.tokens.sum()
    found = {
        "AL per step: chunk mean, prefill chunk in": float(
            (tokens + requests) / (steps + requests)
        ),
        "AL per step: 1 + accepted / drafted x longest draft": float(
            1 + sums.max_draft * sums.accepted.sum() / sums.drafted.sum()
        ),
        "AL per step: mean over requests": sums.al_per_request.value,
    }
    # A chunk of the prefill is one more "step" of one token.
    at_least = emitted_at_least.copy()
    at_least[0] += requests
    for i in range(1, len(at_least)):
        found[f"AR_{i}: survival over observed lengths"] = float(at_least[i] / at_least[i - 1])
    return found


def run_many(
    world: World,
    truth: Truth,
    n_prompts: int,
    n_runs: int,
    seed: int,
    **options: str,
) -> tuple[list[Tally], list[Tally]]:
    """Simulate runs of n prompts; return tallies of our estimators and of the naive ones."""
    rng = np.random.default_rng(seed)
    true = true_figures(truth)
    ours = {name: Tally(name, value, [], []) for name, value in true.items()}
    naive: dict[str, Tally] = {}
    per_batch = max(1, min(n_runs, AT_ONCE // n_prompts))
    for start in range(0, n_runs, per_batch):
        runs = min(per_batch, n_runs - start)
        kinds, tokens = draw_prompts(world, runs * n_prompts, rng)
        batch = simulate(world, kinds, tokens, rng)
        sums = sums_by(steps_of(batch))
        times = seconds(batch, world, rng)
        lengths = np.zeros((runs, world.gamma + 1))
        for k in range(1, world.gamma + 2):
            of_run = batch.request[batch.emitted >= k] // n_prompts
            lengths[:, k - 1] = np.bincount(of_run, minlength=runs)
        for run in range(runs):
            rows = slice(run * n_prompts, (run + 1) * n_prompts)
            mine = sums.take(np.arange(rows.start, rows.stop))
            arms = (times[0][rows], times[1][rows])
            figures = our_figures(mine, arms, tokens[rows].astype(float), rng, **options)
            for name, found in figures.items():
                if np.isfinite(found.value):
                    ours[name].values.append(found.value)
                    ours[name].covered.append(bool(found.low <= true[name] <= found.high))
            for name, value in naive_figures(mine, lengths[run], n_prompts).items():
                truth_of = true[name.split(":")[0]]
                naive.setdefault(name, Tally(name, truth_of, [], [])).values.append(value)
    return [t for t in ours.values() if t.values], list(naive.values())
