"""Selection of diverse prompts from large pools: time, memory, and how good the sets are.

    python benchmarks/selection.py            up to 10^6 candidates: some minutes, 3 GB of memory
    python benchmarks/selection.py --quick    up to 10^5: under a minute
    python benchmarks/selection.py --vectors POOL.npy --candidates POOL.jsonl
                                              the same, and each category of a pool of one's own

Every case runs in a process of its own, so that its peak of memory is its own, with two threads of
BLAS.  Pools are mixtures of clusters of very different sizes around a common direction.  The last
line is JSON.  Seeds are fixed; every figure but times and memory repeats exactly.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from selection_naive import naive_selection

from speedbench.diversity import check_swaps, lower_bound, random_draws, select, unit_rows

SEED = 20_261_124
K = 80
N_CLUSTERS = 300
THREADS = "2"
NAIVE_UP_TO = 10_000
"""Candidates: their N x N matrix in float64 is 0.8 GB, and 80 GB for ten times as many."""

Figures = dict[str, Any]


def make_pool(n: int, dims: int) -> np.ndarray:
    """Return unit vectors: common direction + cluster + noise, of comparable lengths."""
    rng = np.random.default_rng(SEED)
    common, *centres = unit_rows(rng.standard_normal((1 + N_CLUSTERS, dims)))
    shares = rng.dirichlet(np.full(N_CLUSTERS, 0.5))
    pool = np.empty((n, dims), np.float32)
    at_once = (4 << 20) // dims
    for start in range(0, n, at_once):
        part = pool[start : start + at_once]
        rng.standard_normal(part.shape, dtype=np.float32, out=part)
        part *= np.float32(0.7 / np.sqrt(dims))
        part += 0.6 * np.stack(centres)[rng.choice(N_CLUSTERS, len(part), p=shares)]
        part += 0.4 * common
    return unit_rows(pool, out=pool)


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def run_case(n: int, dims: int, form: str) -> Figures:
    """Run one case in this process, which is made for it."""
    pool = make_pool(n, dims)
    made_gb, started = peak_gb(), time.perf_counter()
    if form == "naive":
        first = int(np.random.default_rng(SEED).integers(n))
        chosen, _, objective = naive_selection(pool, K, first)
        spent = time.perf_counter() - started
        return {"seconds": spent, "gb": peak_gb(), "chosen": chosen, "objective": objective}
    found = select(pool, K, rng=np.random.default_rng(SEED))
    spent, gb = time.perf_counter() - started, peak_gb()
    assert found.certificate is not None
    started = time.perf_counter()
    bound = lower_bound(pool, K, start=found.chosen)
    return {
        "seconds": spent,
        "gb": gb,
        "made_gb": made_gb,
        "pool_gb": pool.nbytes / 1e9,
        "chosen": list(found.chosen),
        "objective": found.objective,
        "n_swaps": found.n_swaps,
        "swap_optimal": found.certificate.swap_optimal,
        "gap": bound.gap(found.objective),
        "ratio": bound.ratio_to_random(found.objective),
        "bound_seconds": time.perf_counter() - started,
        "bound_gb": peak_gb(),
    }


def in_child(n: int, dims: int, form: str) -> Figures:
    """Run one case in a fresh process."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, __file__, "--case", json.dumps([n, dims, form])],
        env=os.environ | dict.fromkeys(names, THREADS),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def growth(by_n: dict[int, float]) -> float:
    """Return the fitted p of seconds = c N^p, from 10^4 candidates on: below, calls cost more."""
    sizes = [n for n in by_n if n >= 10_000]
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log([by_n[n] for n in sizes]), 1)[0])


def sizes_section(dims: int, sizes: list[int], naive_up_to: int) -> dict[int, Figures]:
    print(f"\n{K} of N unit vectors of {dims} dimensions")
    found = {}
    for n in sizes:
        case = in_child(n, dims, "select")
        line = (
            f"  N {n:>9,}  {case['seconds']:7.2f} s  {case['gb']:5.2f} GB at the peak "
            f"(pool {case['pool_gb']:.2f})  {case['n_swaps']:3} exchanges  "
            f"1-swap optimal: {'yes' if case['swap_optimal'] else 'NO'}  "
            f"gap {case['gap']:.2%}  of random {case['ratio']:.3f}  "
            f"(bound: {case['bound_seconds']:.2f} s, {case['bound_gb']:.2f} GB)"
        )
        if n <= naive_up_to:
            naive = in_child(n, dims, "naive")
            case["naive_ratio"] = naive["seconds"] / case["seconds"]
            case["same"] = naive["chosen"] == case["chosen"] and bool(
                np.isclose(naive["objective"], case["objective"], rtol=1e-12, atol=1e-9)
            )
            line += (
                f"  N x N: {naive['seconds']:.2f} s ({case['naive_ratio']:.1f} times), "
                f"{naive['gb']:.2f} GB, same set: {'yes' if case['same'] else 'NO'}"
            )
        print(line, flush=True)
        found[n] = case
    told = growth({n: case["seconds"] for n, case in found.items()})
    if not np.isnan(told):
        print(f"  seconds grow as N^{told:.2f} from 10^4 candidates on")
    return found


def own_pool_section(vectors: Path, candidates: Path) -> tuple[float, float]:
    """Print each category of a real pool; return mean gap and mean ratio."""
    pool = unit_rows(np.load(vectors))
    rows = candidates.read_text(encoding="utf-8").rstrip("\n").split("\n")
    categories = np.array([json.loads(row)["category"] for row in rows])
    print(f"\nmean similarity of {K} of each category, {vectors.name}")
    gaps, ratios = [], []
    for name in sorted(set(categories.tolist())):
        part = pool[categories == name]
        found = select(part, K, rng=np.random.default_rng(SEED))
        bound = lower_bound(part, K, start=found.chosen)
        drawn = random_draws(part, K, rng=np.random.default_rng(SEED))
        first = int(np.random.default_rng(SEED).integers(len(part)))
        same = naive_selection(part, K, first)[0] == list(found.chosen)
        optimal = check_swaps(part, found.chosen).swap_optimal
        gaps.append(bound.gap(found.objective))
        ratios.append(bound.ratio_to_random(found.objective))
        print(
            f"  {name:14} of {len(part):5,}  selected {found.mean_similarity:.4f}  "
            f"bound {bound.value / (K * (K - 1)):.4f}  random {drawn.expected:.4f} "
            f"[{drawn.low:.4f}, {drawn.high:.4f}]  gap {gaps[-1]:.2%}  of random {ratios[-1]:.3f}  "
            f"same as N x N: {'yes' if same else 'NO'}  optimal: {'yes' if optimal else 'NO'}"
        )
    print(f"  mean gap {np.mean(gaps):.2%}, mean ratio to random {np.mean(ratios):.3f}")
    return float(np.mean(gaps)), float(np.mean(ratios))


def selection_figures(quick: bool, own: tuple[Path, Path] | None) -> Figures:
    """Return the figures of selection; gap and ratio are of one's own pool where there is one."""
    small = [1000, 10_000, 100_000]
    by_dims = {
        384: sizes_section(384, small if quick else [*small, 1_000_000], NAIVE_UP_TO),
        3072: sizes_section(3072, small[:2] if quick else small, 1000 if quick else NAIVE_UP_TO),
    }
    cases = [case for found in by_dims.values() for case in found.values()]
    compared = [case for case in cases if "same" in case]
    largest = max(by_dims[384])
    gap, ratio = by_dims[384][largest]["gap"], by_dims[384][largest]["ratio"]
    if own is not None:
        gap, ratio = own_pool_section(*own)

    def column(name: str) -> dict[str, float]:
        return {
            f"{n}x{dims}": rounded(case[name])
            for dims, found in by_dims.items()
            for n, case in found.items()
        }

    return {
        "seconds": column("seconds"),
        "gb": column("gb"),
        "growth_exponent": rounded(
            growth({n: case["seconds"] for n, case in by_dims[384].items()})
        ),
        "ratio_to_naive": rounded(by_dims[384][NAIVE_UP_TO]["naive_ratio"]),
        "same_as_naive": all(case["same"] for case in compared),
        "swap_optimal": all(case["swap_optimal"] for case in cases),
        "gap_to_bound": rounded(gap),
        "ratio_to_random": rounded(ratio),
    }


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="up to 10^5: under a minute")
    parser.add_argument("--vectors", type=Path, help="embeddings of a pool, .npy, a row a line of")
    parser.add_argument("--candidates", type=Path, help="JSONL with a category on each line")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run_case(*json.loads(options.case))))
        return
    if (options.vectors is None) != (options.candidates is None):
        parser.error("--vectors and --candidates go together")
    own = (options.vectors, options.candidates) if options.vectors else None
    started = time.perf_counter()
    figures = selection_figures(options.quick, own)
    # Building of throughput prompts adds its figures here: throughput_off_by_max, tokens_per_s.
    print(f"\n{time.perf_counter() - started:.0f} s in all")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
