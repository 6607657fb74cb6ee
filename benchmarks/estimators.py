"""Do the estimators tell the truth, do their intervals cover it, and what do they cost?

    python benchmarks/estimators.py            4,000 runs a row, 1,000 A/A pairs: some minutes
    python benchmarks/estimators.py --quick    the same with fewer runs: under a minute

The last line is JSON.  Seeds are fixed; every figure but the times repeats exactly.
"""

from __future__ import annotations

import argparse
import json
import time

from estimators_alarms import LEVEL, launch_alarms, pairs
from estimators_cost import bootstrap_seconds, cost
from estimators_simulation import make_world, scale_for_drop, truth
from estimators_truth import Tally, run_many

SEED = 20_261_123
"""Fixed before the first run was looked at."""


def show(title: str, tallies: list[Tally]) -> None:
    print(f"\n{title}")
    width = max(len(t.name) for t in tallies)
    for t in tallies:
        covered = f"  covers {t.coverage:6.1%}" if t.covered else ""
        bias = f"bias {t.bias:+8.3%} +- {t.mc_error:.3%}"
        print(f"  {t.name:{width}}  truth {t.truth:.4f}  {bias}{covered}")


def truth_section(quick: bool) -> tuple[float, float, float]:
    world = make_world()
    true = truth(world)
    small, large, resampled = (300, 1200, 60) if quick else (4000, 4000, 1000)
    for n in (8, 80):
        ours, _ = run_many(world, true, n, small, SEED + n)
        show(f"{n} prompts, {small} runs, jackknife-t", ours)
        for method in ("bca",) if quick else ("bca", "percentile", "bootstrap-t"):
            lost, _ = run_many(world, true, n, resampled, SEED + n, method=method)
            show(f"{n} prompts, {resampled} runs, {method} (a method that lost)", lost)
    ours, naive = run_many(world, true, 400, large, SEED + 400)
    show(f"400 prompts, {large} runs, jackknife-t", ours)
    show("naive estimators on the same runs", naive)
    biased = [t.name for t in ours if not t.unbiased]
    print(f"  outside max(0.2%, 3 Monte Carlo errors): {', '.join(biased) or 'none'}")
    judged = list(ours)
    if not quick:
        more, _ = run_many(world, true, 880, 1000, SEED + 880)
        show("880 prompts, 1000 runs, jackknife-t", more)
    coverage = [t.coverage for t in judged]
    return max(abs(t.bias) for t in judged), min(coverage), max(coverage)


def alarm_section(quick: bool) -> tuple[float, float]:
    base = make_world()
    n_pairs, n_power = (400, 100) if quick else (1000, 500)
    same = pairs(base, base, 880, n_pairs, SEED + 1)
    print(f"\nA/A, {n_pairs} identical pairs of 880 prompts, test for a drop of AL at {LEVEL:.0%}")
    print(f"  fires in {same.fired:.1%}; in any category after Holm {same.fired_any_category:.1%}")
    worse = pairs(base, make_world(scale=scale_for_drop(0.02)), 880, n_power, SEED + 2)
    print(f"  power for a drop of {1 - worse.mean_ratio:.2%}: {worse.fired:.1%} ({n_power} pairs)")
    print("\nA/A of speed at 5%, 88 prompts, launches that differ by 2%, by what is resampled")
    for launches in (3,) if quick else (2, 3, 5):
        rates = launch_alarms(200 if quick else 2000, SEED + 3, launches=launches)
        told = ", ".join(f"{name} {rate:.1%}" for name, rate in rates.items())
        print(f"  {launches} launches of each engine: {told}")
    return same.fired, worse.fired


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer runs: under a minute")
    quick = parser.parse_args().quick
    started = time.perf_counter()
    # Cost first: the peak of memory must be that of 10 million steps, not of the simulation.
    spent = cost(10_000_000, 200_000, 3)
    print(
        f"10 million steps through acceptance and timing: {spent['seconds']:.2f} s (median), ",
        end="",
    )
    print(f"{spent['peak_mb']:.0f} MB at the peak, {spent['ratio_to_loop']:.0f} times a plain loop")
    bootstrap_s = bootstrap_seconds()
    print(f"2,000 BCa resamples of 880 prompts, 180,000 steps: {bootstrap_s:.3f} s (median)")
    bias_max, coverage_min, coverage_max = truth_section(quick)
    aa_rate, power_2pct = alarm_section(quick)
    print(f"\n{time.perf_counter() - started:.0f} s in all")
    figures = {
        "bias_max": bias_max,
        "coverage_min": coverage_min,
        "coverage_max": coverage_max,
        "aa_rate": aa_rate,
        "power_2pct": power_2pct,
        "bootstrap_s": bootstrap_s,
        "steps_per_s": spent["steps_per_s"],
        "ratio_to_loop": spent["ratio_to_loop"],
    }
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
