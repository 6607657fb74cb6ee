"""A/A on the real engine: how often does a comparison of two equal things raise an alarm?

    python benchmarks/aa_embedded.py [--quick] [--pairs 200]

Each pair starts the embedded engine twice, anew, on the same configuration and measures the same
prompts on both in turns, as `speedbench quickstart` does: prompt lookup at temperature 0.7, with
different sampling seeds, so that acceptance varies.  Then the two are compared as two methods would
be: AL per step by its paired difference over prompts, speed by the paired ratio of decode seconds
per token over blocks.  Nothing differs within a pair, so each alarm is false; at 95% confidence 5%
are due.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from speedbench import acceptance, analysis, datasets, stats, turns
from speedbench.config import RunConfig, validated
from speedbench.load import Outcome
from speedbench.summary import Arm, Pairs, RunColumns

PROMPTS = 22
BLOCKS = 11
MAX_TOKENS = 16
CONCURRENCY = 1
SEED = 20_261_123


class Silent:
    """An observer that says nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Note nothing."""

    def describe(self, label: str) -> None:
        """Note nothing."""


def config(pair: int, side: int) -> RunConfig:
    """Return what is measured on one side of one pair; only the sampling seed differs."""
    return validated(
        {
            "engine": {"engine": "embedded", "method": "ngram", "pair": "unexpanded"},
            "load": {"concurrency": CONCURRENCY},
            "sampling": {"max_tokens": MAX_TOKENS, "temperature": 0.7},
            "seed": 2 * pair + side,
            "repeat": side,
        }
    )


def measure(pair: int, data: datasets.Dataset, directory: Path) -> list[RunColumns]:
    """Start two engines, measure the prompts on both in turns, stop them."""
    configs = [config(pair, side) for side in (0, 1)]

    async def once() -> None:
        async with turns.opened(configs, directory, data, resume=False) as slots:
            await turns.measure(slots, data, BLOCKS, Silent())

    asyncio.run(once())
    traces = [analysis.read_trace(directory / c.cell.name)[1] for c in configs]
    names = [prompt.id for prompt in data.prompts]
    return [RunColumns.of(trace, names) for trace in traces]


def al_interval(sides: Sequence[RunColumns]) -> stats.Interval:
    """Return the difference of AL per step over the same prompts."""
    ratios = [
        acceptance.sums_by(
            side.steps(side.mask({})), side.prompt_of_request, len(side.prompts)
        ).al_per_step
        for side in sides
    ]
    a, b = ratios
    return stats.difference_interval(a.num, a.den, b.num, b.den, rng=np.random.default_rng(SEED))


def speed_interval(sides: Sequence[RunColumns]) -> stats.Interval:
    """Return the ratio of decode seconds per token, as a study would."""
    arms = [Arm((f"side {i}", None), CONCURRENCY, (side,)) for i, side in enumerate(sides)]
    return Pairs(*arms).speedup({})


def false_alarms(intervals: Sequence[stats.Interval], truth: float) -> dict[str, float | int]:
    """Return how many intervals miss the truth, with a 95% (Clopper-Pearson) interval."""
    missed = sum(bool(i.low > truth or i.high < truth) for i in intervals)
    bounds = binomtest(missed, len(intervals)).proportion_ci(method="exact")
    return {
        "rate": round(missed / len(intervals), 4),
        "low": round(float(bounds.low), 4),
        "high": round(float(bounds.high), 4),
        "pairs": len(intervals),
    }


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 pairs, about a minute")
    parser.add_argument("--pairs", type=int, default=200)
    arguments = parser.parse_args()
    n_pairs = 10 if arguments.quick else arguments.pairs
    mini = datasets.load("mini")
    chosen = datasets.select(mini.prompts, num_prompts=PROMPTS, rng=np.random.default_rng(SEED))
    data = datasets.Dataset(mini.name, mini.fingerprint, tuple(chosen))
    al, speed = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for pair in range(n_pairs):
            sides = measure(pair, data, Path(scratch) / str(pair))
            al.append(al_interval(sides))
            speed.append(speed_interval(sides))
            if (pair + 1) % 10 == 0:
                print(f"{pair + 1}/{n_pairs} pairs", flush=True)
    result = {
        "aa_al": false_alarms(al, 0.0),
        "aa_speed": false_alarms(speed, 1.0),
        "speed_ratio_sd_pct": round(float(100 * np.std([np.log(i.value) for i in speed])), 2),
        "prompts": PROMPTS,
        "blocks": BLOCKS,
    }
    print("false alarms for AL:", result["aa_al"])
    print("false alarms for speed:", result["aa_speed"])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
