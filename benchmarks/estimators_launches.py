"""Coverage of a measured speedup whose server launches differ, by what is resampled.

    python benchmarks/estimators_launches.py     some minutes; the table of docs/decisions/0011

Prompts cost what they cost in both arms, the speedup of a prompt varies by 20%, every launch of a
server is faster or slower by a few percent, and every cell has noise of its own.
"""

from __future__ import annotations

import numpy as np

from speedbench.stats import paired_launches_ratio_interval, paired_ratio_interval

Arms = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
RUNS = 800
CELL_SPREAD = 0.03
METHODS = ("launches and prompts", "pigeonhole", "prompts only")


def arms(rng: np.random.Generator, prompts: int, launches: int, spread: float) -> Arms:
    """Return seconds and tokens of both arms, (launches, prompts) each."""
    tokens = np.rint(np.minimum(np.exp(5 + 0.6 * rng.standard_normal(prompts)), 300))
    gain = 1.5 * np.exp(0.2 * rng.standard_normal(prompts))

    def seconds(per_token: np.ndarray | float) -> np.ndarray:
        effect = np.exp(spread * rng.standard_normal((launches, 1)))
        cell = np.exp(CELL_SPREAD * rng.standard_normal((launches, prompts)))
        return tokens * per_token * effect * cell

    counts = np.tile(tokens, (launches, 1))
    return seconds(0.02), counts, seconds(0.02 / gain), counts


def true_speedup() -> float:
    """Return the ratio of mean seconds per token; tokens and gain are independent."""
    return 1.5 * float(np.exp(-0.5 * 0.2**2))


def coverage(prompts: int, launches: int, spread: float) -> dict[str, float]:
    """Return the share of 95% intervals that hold the truth, by method."""
    rng = np.random.default_rng(20_261_124)
    hits = dict.fromkeys(METHODS, 0)
    for _ in range(RUNS):
        a, na, b, nb = arms(rng, prompts, launches, spread)
        pooled = [x.sum(axis=0) for x in (a, na, b, nb)]
        found = [
            paired_launches_ratio_interval(a, na, b, nb, rng=rng),
            paired_launches_ratio_interval(
                a, na, b, nb, rng=rng, method="pigeonhole" if launches > 1 else "auto",
                n_resamples=400,
            ),
            paired_ratio_interval(*pooled, rng=rng),
        ]  # fmt: skip
        for name, interval in zip(hits, found, strict=True):
            hits[name] += interval.low <= true_speedup() <= interval.high
    return {name: count / RUNS for name, count in hits.items()}


def main() -> None:
    print(f"coverage of 95% intervals, {RUNS} runs a row (Monte Carlo error 0.8 points)")
    print("prompts  launches  spread  " + "  ".join(METHODS))
    for prompts in (10, 88, 880):
        for launches in (1, 2, 3, 5):
            for spread in (0.0, 0.01, 0.03):
                rates = coverage(prompts, launches, spread)
                told = "  ".join(f"{rate:.3f}" for rate in rates.values())
                print(f"{prompts:7}  {launches:8}  {spread:6.0%}  {told}", flush=True)


if __name__ == "__main__":
    main()
