"""What the estimators cost: seconds, memory, and the same work in a plain Python loop."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from speedbench.acceptance import (
    Steps,
    al_at_full_draft_length,
    al_per_request,
    al_per_step,
    conditional_rates,
    sums_by,
)
from speedbench.stats import ratio_interval
from speedbench.timing import (
    Streams,
    decode_sums_by,
    output_tps,
    percentiles,
    steady_window,
    ttft_s,
    user_tps,
)

Columns = dict[str, np.ndarray]


def make_columns(n_steps: int, steps_per_request: int = 100) -> Columns:
    """Return columns of requests of equal length, 4 at a time, draft length 3, last step cut."""
    rng = np.random.default_rng(20260)
    n_requests = n_steps // steps_per_request
    accepted = rng.integers(0, 4, n_steps, dtype=np.int32)
    step = np.tile(np.arange(steps_per_request, dtype=np.int64), n_requests)
    sent = np.arange(n_requests, dtype=np.int64) // 4 * steps_per_request * 10_000_000
    cut = step == steps_per_request - 1
    emitted = accepted + np.int32(1)
    emitted[cut] = 1
    return {
        "request": np.repeat(np.arange(n_requests, dtype=np.int32), steps_per_request),
        "emitted": emitted,
        "drafted": np.full(n_steps, 3, np.int32),
        "accepted": accepted,
        "truncated": cut,
        "at_ns": np.repeat(sent, steps_per_request) + (step + 1) * 10_000_000,
        "sent_ns": sent,
        "prompt": np.arange(n_requests) % 880,
    }


def by_columns(c: Columns) -> tuple[float, ...]:
    """Return the figures through the package."""
    steps = Steps.from_arrays(
        c["request"],
        c["emitted"],
        drafted=c["drafted"],
        accepted=c["accepted"],
        truncated=c["truncated"],
    )
    sums = sums_by(steps, c["prompt"])
    streams = Streams.from_arrays(c["request"], c["at_ns"], c["emitted"], sent_ns=c["sent_ns"])
    decode = decode_sums_by(streams, c["prompt"])
    return (
        al_per_step(sums).value,
        al_per_request(sums).value,
        *conditional_rates(sums).values,
        al_at_full_draft_length(sums).value,
        float(decode.seconds.sum() / decode.tokens.sum()),
        percentiles(ttft_s(streams)).at(50),
        percentiles(user_tps(streams)).at(50),
        output_tps(streams, steady_window(streams)).tokens_per_s,
    )


def by_loop(c: Columns) -> tuple[float, ...]:
    """Return the sums behind the same figures by a plain loop over rows."""
    names = ("request", "emitted", "drafted", "accepted", "truncated", "at_ns")
    rows = zip(*(c[name].tolist() for name in names), strict=True)
    sent, prompt = c["sent_ns"].tolist(), c["prompt"].tolist()
    risk, hits = [0] * 3, [0] * 3
    per_request: dict[int, list[int]] = {}
    per_prompt: dict[int, list[int]] = {}
    for request, emitted, drafted, accepted, cut, at in rows:
        if accepted > drafted or emitted > accepted + 1:
            raise ValueError
        mine = per_request.setdefault(request, [0, 0, at, at, emitted])
        if at < mine[3]:
            raise ValueError
        mine[0] += emitted
        mine[1] += 1
        mine[3] = at
        theirs = per_prompt.setdefault(prompt[request], [0, 0])
        theirs[0] += emitted
        theirs[1] += 1
        for i in range(min(drafted, emitted) if cut else drafted):
            if accepted >= i:
                risk[i] += 1
                hits[i] += accepted > i
    rates = [h / r for h, r in zip(hits, risk, strict=True)]
    tokens = sum(p[0] for p in per_prompt.values())
    al = tokens / sum(p[1] for p in per_prompt.values())
    own = sum(r[0] / r[1] for r in per_request.values()) / len(per_request)
    spent = sum(r[3] - r[2] for r in per_request.values()) / 1e9
    later = sum(r[0] - r[4] for r in per_request.values())
    waits = sorted((r[2] - sent[q]) / 1e9 for q, r in per_request.items())
    return (al, own, *rates, spent / later, waits[len(waits) // 2])


def timed(work: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of several calls."""
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return median(took)


def bootstrap_seconds(repeats: int = 5) -> float:
    """Return the median seconds of 2,000 BCa resamples of 880 prompts with 180,000 steps."""
    rng = np.random.default_rng(7)
    request = np.sort(rng.integers(0, 880, 180_000))
    emitted = rng.integers(1, 5, 180_000)

    def work() -> None:
        ratio = sums_by(Steps.from_arrays(request, emitted, n_requests=880)).al_per_step
        ratio_interval(ratio.num, ratio.den, rng=rng, n_resamples=2000, method="bca")

    return timed(work, repeats)


def peak_mb() -> float:
    """Return the largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cost(n_steps: int, n_loop: int, repeats: int) -> dict[str, float]:
    """Return steps per second, the ratio to the loop, and memory; checks that both agree."""
    columns = make_columns(n_steps)
    took = timed(lambda: by_columns(columns), repeats)
    memory = peak_mb()
    small = make_columns(n_loop)
    plain = timed(lambda: by_loop(small), repeats)
    ours, theirs = by_columns(small), by_loop(small)
    agreed = [*ours[:5], *ours[6:8]]
    if not np.allclose(agreed, theirs, rtol=1e-12):
        raise SystemExit(f"the loop and the columns disagree: {theirs} against {agreed}")
    return {
        "seconds": took,
        "steps_per_s": n_steps / took,
        "ratio_to_loop": (n_steps / took) / (n_loop / plain),
        "peak_mb": memory,
    }
