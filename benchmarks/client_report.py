"""What the benchmark prints: tables, targets, and its line of JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from client_figures import Figures
from client_load import NotRun

OURS, FLOOR, AIPERF, VLLM = "speedbench", "C floor", "aiperf", "vllm bench"
STAMP_BOUND_MS, TTFT_BOUND_MS, IDEAL_SHARE = 0.1, 5.0, 0.99
LATE_SHARE_OF_STEP = 0.02
"""How late a stamp may be for a client to count as keeping up, as a share of the interval."""

Results = Mapping[str, Mapping[str, Figures | NotRun]]
"""Case, then client, then what came of it."""

HEADER = (
    f"{'client':14} {'p50 ms':>8} {'p99 ms':>9} {'TTFT p99':>9} {'us/chunk':>9} {'to end':>7} "
    f"{'peak MB':>8} {'of ideal':>8} {'received':>8} {'lost':>6} | "
    f"{'CPU':>6} {'to end':>6} {'p99':>8} {'TTFT':>8} {'MB':>6}"
)
LEGEND = """\
p50 ms, p99 ms  from the server's stamp of a chunk to the client's; a client marked * has a clock
                of its own, set here by its least late chunk: its error is a lower bound
TTFT p99        error of the time to first token, 99th percentile, ms
us/chunk        CPU of the client's whole tree of processes, from the first request's arrival to the
                last chunk sent: neither start-up nor the writing of reports is in it
to end          the same until the client has ended: with parsing, reports, all it had put off
peak MB         resident memory of the tree, its peak over the client's whole life; pages that its
                processes share count once for each
of ideal        the wall time of a client that costs nothing over this one's
received        chunks received over chunks asked for
right of |      speedbench over this client: below 1 speedbench is cheaper, or truer"""


@dataclass(frozen=True)
class Target:
    """A claim and whether this run bears it out."""

    claim: str
    value: float
    bound: str
    met: bool


def got(results: Results, case: str, client: str) -> Figures | None:
    """Return the figures of a run that took place."""
    found = results.get(case, {}).get(client)
    return found if isinstance(found, Figures) else None


def show_case(title: str, runs: Mapping[str, Figures | NotRun], own_clock: set[str]) -> None:
    """Print one table: a line per client, also for one that did not run."""
    print(f"\n{title}\n{HEADER}")
    ours = runs.get(OURS)
    for name, run in runs.items():
        label = f"{name}{' *' if name in own_clock else ''}"
        if isinstance(run, NotRun):
            print(f"{label:14} did not run: {run.reason}")
        else:
            print(f"{label:14} {_row(run)} | {_ratios(ours, run, name)}")
    for name, run in runs.items():
        if isinstance(run, Figures) and run.said:
            print(f"{name} says of its own stamps: {run.said}")
        if isinstance(run, Figures) and run.failed:
            print(f"note: {name} counts {run.failed:.0f} of its requests as failed")
    ran = [run for run in runs.values() if isinstance(run, Figures)]
    if not ran:
        return
    late = ", ".join(f"{run.server_late_p99_ms:.1f}" for run in ran)
    print(f"server: p99 of its own lateness {late} ms (counted in `of ideal`, not in stamps)")
    if any(run.others > 0.1 for run in ran):
        shares = ", ".join(f"{run.others:.2f}" for run in ran)
        print(f"note: other processes used {shares} cores meanwhile; the figures suffer from it")


def _row(run: Figures) -> str:
    return (
        f"{run.p50_ms:8.3f} {run.p99_ms:9.3f} {run.ttft_p99_ms:9.2f} {run.us_per_chunk:9.1f} "
        f"{run.us_per_chunk_to_end:7.1f} {run.rss_mb:8.0f} {run.offered_ratio:8.1%} "
        f"{run.received / run.offered:8.1%} {run.lost:6.0f}"
    )


def _ratios(ours: Figures | NotRun | None, other: Figures, name: str) -> str:
    if not isinstance(ours, Figures) or name == OURS:
        return ""
    return (
        f"{ours.us_per_chunk / other.us_per_chunk:6.3f} "
        f"{ours.us_per_chunk_to_end / other.us_per_chunk_to_end:6.3f} "
        f"{ours.p99_ms / other.p99_ms:8.2g} {ours.ttft_p99_ms / other.ttft_p99_ms:8.2g} "
        f"{ours.rss_mb / other.rss_mb:6.2f}"
    )


def cpu_ratio(results: Results, case: str, client: str) -> float:
    """Return our CPU per chunk over another client's; NaN where one of them did not run."""
    ours, other = got(results, case, OURS), got(results, case, client)
    return ours.us_per_chunk / other.us_per_chunk if ours and other else math.nan


def keeps_up(run: Figures, bound_ms: float) -> bool:
    """Say whether a client's stamps can be believed at this load."""
    return run.p99_ms < bound_ms and run.offered_ratio >= IDEAL_SHARE and run.lost == 0


def targets(results: Results, levels: list[int]) -> list[Target]:
    """Return every target whose case was tried; one that did not run is not met."""
    return [*_level_targets(results, levels), *_other_targets(results)]


def _target(claim: str, value: float | None, bound: float, *, least: bool = False) -> Target:
    value = math.nan if value is None else value
    met = value >= bound if least else value <= bound
    return Target(claim, value, f"{'>=' if least else '<='} {bound:g}", met)


def _level_targets(results: Results, levels: list[int]) -> Iterator[Target]:
    for level in levels:
        case, name = str(level), f"{level:,} streams"
        if OURS not in results.get(case, {}):
            continue
        run = got(results, case, OURS)
        if level >= 256:
            p99_ms, ttft_ms = (run.p99_ms, run.ttft_p99_ms) if run else (None, None)
            yield _target(f"{name}: p99 of stamp error, ms", p99_ms, STAMP_BOUND_MS)
            yield _target(f"{name}: p99 of TTFT error, ms", ttft_ms, TTFT_BOUND_MS)
            yield _target(f"{name}: CPU over the C floor's", cpu_ratio(results, case, FLOOR), 2)
        share, lost = (run.offered_ratio, run.lost) if run else (None, None)
        yield _target(f"{name}: wall time, share of ideal", share, IDEAL_SHARE, least=True)
        yield _target(f"{name}: chunks lost or twice", lost, 0)


def _other_targets(results: Results) -> Iterator[Target]:
    for client, bound in ((AIPERF, 1 / 8), (VLLM, 1 / 2)):
        if client in results.get("1024", {}):
            ratio = cpu_ratio(results, "1024", client)
            yield _target(f"1,024 streams: CPU over that of {client}", ratio, bound)
    singles: list[tuple[str, str, Callable[[Figures], float], float]] = [
        ("2048", "2,048 streams: peak memory, MB", lambda run: run.rss_mb, 600),
        ("1024 TLS", "1,024 streams, TLS: p99 of stamp error, ms", lambda run: run.p99_ms, 1),
        ("1024 read", "1,024 streams, reads: p99 of stamp error, ms", lambda run: run.p99_ms, 1),
        ("8192", "8,192 streams at 10 chunks/s: lost or twice", lambda run: run.lost, 0),
    ]
    for case, claim, value_of, bound in singles:
        if OURS in results.get(case, {}):
            run = got(results, case, OURS)
            yield _target(claim, value_of(run) if run else None, bound)


def show_targets(found: list[Target]) -> None:
    """Print each target, met or not."""
    print("\ntargets")
    for target in found:
        met = "NOT RUN" if math.isnan(target.value) else "met    " if target.met else "NOT MET"
        print(f"  {met}  {target.claim}: {target.value:.4g} ({target.bound})")


def streams_ratio(results: Results, levels: list[int], interval_ms: float) -> tuple[float, str]:
    """Return our largest level over aiperf's, and how it has to be read."""
    late_ms = LATE_SHARE_OF_STEP * interval_ms
    ours = _kept(results, levels, OURS, min(STAMP_BOUND_MS, late_ms))
    cases = sorted(int(case) for case in results if case.isdigit() and int(case) <= max(levels))
    ran = [n for n in cases if got(results, str(n), AIPERF)]
    if not ran:
        return math.nan, "aiperf did not run: streams_ratio_aiperf is undefined"
    theirs = _kept(results, cases, AIPERF, late_ms)
    said = (
        f"largest level with p99 of stamp error under {STAMP_BOUND_MS:g} ms for speedbench "
        f"({ours or 'none'}) and under {late_ms:g} ms, {LATE_SHARE_OF_STEP:.0%} of a step, for "
        f"aiperf ({theirs or 'none'}), both within 1% of the ideal wall time"
    )
    if not theirs:
        said += f"; aiperf failed at its lowest, {ran[0]}, too: the ratio is a lower bound"
    return (ours or math.nan) / (theirs or ran[0]), said


def _kept(results: Results, levels: list[int], client: str, bound_ms: float) -> int:
    runs = {level: got(results, str(level), client) for level in levels}
    return max((n for n, run in runs.items() if run and keeps_up(run, bound_ms)), default=0)


def json_figures(results: Results, ratio: float) -> dict[str, Any]:
    """Return what the last line holds; what is undefined is null."""
    levels = {}
    for case in results:
        if run := got(results, case, OURS):
            names = ("p50_ms", "p99_ms", "ttft_p99_ms", "us_per_chunk")
            levels[case] = {name: _short(getattr(run, name)) for name in names} | {
                "floor_ratio": _short(cpu_ratio(results, case, FLOOR)),
                "rss_mb": _short(run.rss_mb),
                "lost": int(run.lost),
                "offered_ratio": _short(run.offered_ratio),
            }
    return {
        "levels": levels,
        "ratio_aiperf": _short(cpu_ratio(results, "1024", AIPERF)),
        "ratio_vllm": _short(cpu_ratio(results, "1024", VLLM)),
        "streams_ratio_aiperf": _short(ratio),
    }


def _short(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.4g}")
