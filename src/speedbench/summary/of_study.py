"""What several runs over the same prompts say together: gain, proxy, losslessness, decision.

Runs are compared request by request: only those that sent exactly the same input in the same repeat
are paired, and the share that could be paired is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from speedbench import gate, speedup, stats, timing
from speedbench.records import Cell, Row, Summary
from speedbench.summary.columns import OVERALL, RunColumns, Slice
from speedbench.summary.cost import cost_rows
from speedbench.summary.estimates import (
    STAMPS,
    Figure,
    acceptance_figures,
    fresh_rng,
    interval_of,
    step_latency,
    text_figures,
    timing_figures,
)
from speedbench.trace import Trace

MARGIN = 0.0
"""Gain that speculation must clear, beyond break-even, before a decision turns it on."""

PAIRED_EVIDENCE = f"{STAMPS}; same inputs, same load, paired"


@dataclass(frozen=True)
class StudyRun:
    """One run of a study: which cell it measured, and its columns."""

    cell: Cell
    trace: Trace


Method = tuple[str, int | None]
"""(method, draft length)."""
BASELINE: Method = ("none", None)


@dataclass(frozen=True)
class Arm:
    """All repeats of one method at one load, with prompts numbered alike everywhere."""

    method: Method
    concurrency: int
    repeats: Sequence[RunColumns]

    @classmethod
    def all_of(cls, runs: Sequence[StudyRun]) -> dict[tuple[Method, int], Arm]:
        """Return the arms of a study by method and concurrency, in the order first seen."""
        prompts = list(
            dict.fromkeys(name for run in runs for name in run.trace.requests["prompt_id"])
        )
        found: dict[tuple[Method, int], list[RunColumns]] = {}
        for run in sorted(runs, key=lambda run: run.cell.repeat):
            key = ((run.cell.method, run.cell.draft_length), run.cell.concurrency)
            found.setdefault(key, []).append(RunColumns.of(run.trace, prompts))
        return {key: cls(key[0], key[1], tuple(repeats)) for key, repeats in found.items()}

    @property
    def pooled(self) -> RunColumns:
        """All repeats as if they had been one run; a prompt stays one independent unit."""
        requests, steps, chunks = [], [], []
        shift = 0
        for number, repeat in enumerate(self.repeats):
            block = pl.col("block") + number * 1_000_000  # blocks of two launches are not one block
            moved = pl.col("request") + shift
            requests.append(repeat.trace.requests.with_columns(moved, block))
            steps.append(repeat.trace.steps.with_columns(moved))
            chunks.append(repeat.trace.chunks.with_columns(moved))
            shift += len(repeat.trace.requests)
        frames = [pl.concat(parts) for parts in (requests, chunks, steps)]
        return RunColumns(Trace(*frames), self.repeats[0].prompts)


def of_study(
    runs: Sequence[StudyRun],
    side_runs: Sequence[StudyRun],
    dataset: Mapping[str, Any],
    engine: Mapping[str, Any],
    notes: Sequence[str],
) -> Summary:
    """Return the estimates and decisions of a study.

    Parameters
    ----------
    runs
        Baseline (method ``none``) and methods over the same prompts, at one or more loads.
    side_runs
        Runs that serve as measurements of cost only: the drafter alone, the unexpanded pair.
    dataset, engine
        What the manifests say of them.
    notes
        Words of warning to print beside the numbers.
    """
    arms = Arm.all_of(runs)
    rows: list[Row] = []
    decisions: list[dict[str, Any]] = []
    for concurrency in dict.fromkeys(c for _, c in arms):
        here = {method: arm for (method, c), arm in arms.items() if c == concurrency}
        rows += [row for arm in here.values() for row in _own_rows(arm)]
        comparison = Comparison(here)
        rows += list(comparison.rows())
        decisions += comparison.decisions()
    rows += list(_side_rows(arms, side_runs))
    return Summary(
        kind="study",
        title=f"{engine['model']} on {dataset['name']}",
        estimates=rows,
        decisions=decisions,
        counts=_counts(runs),
        facts={"engine": dict(engine), "dataset": dict(dataset)},
        notes=list(notes),
    )


def _side_rows(
    arms: Mapping[tuple[Method, int], Arm], side_runs: Sequence[StudyRun]
) -> Iterator[Row]:
    """Yield measured costs, and the unexpanded pair's own result."""
    of_pair = {
        pair: Arm.all_of([run for run in side_runs if run.cell.pair == pair])
        for pair in ("drafter", "unexpanded")
    }
    alone = of_pair["drafter"].get((BASELINE, 1))
    baseline = arms.get((BASELINE, 1))
    for (method, concurrency), arm in arms.items():
        if alone and baseline and method[0] == "draft_model" and method[1] and concurrency == 1:
            yield from cost_rows(
                _cell(arm), baseline.pooled, alone.pooled, arm.pooled, method[1]
            )
    unexpanded = {method: arm for (method, c), arm in of_pair["unexpanded"].items() if c == 1}
    if BASELINE in unexpanded:
        for row in Comparison(unexpanded).rows():
            if not row.slice:
                yield Row(
                    cell={**row.cell, "pair": "unexpanded"}, slice=OVERALL, estimate=row.estimate
                )


def _own_rows(arm: Arm) -> Iterator[Row]:
    """Yield what each method says by itself."""
    columns = arm.pooled
    cell = _cell(arm)
    for where in columns.slices():
        figures = [
            *acceptance_figures(columns, where),
            *text_figures(columns, where),
            *timing_figures(columns, where),
        ]
        for figure in figures:
            yield Row(cell=cell, slice=where, estimate=figure.estimate())
    if columns.tier != "none":
        found = step_latency(columns, arm.concurrency)
        evidence = "the engine's own clock around each iteration"
        figure = Figure("step_latency_s", "s", found, evidence)
        yield Row(cell=cell, slice=OVERALL, estimate=figure.estimate())


class Comparison:
    """Baseline against every method, at one load."""

    def __init__(self, arms: Mapping[Method, Arm]) -> None:
        self.baseline = arms[BASELINE]
        self.methods = [arm for arm in arms.values() if arm.method != BASELINE]
        self.slices = self.baseline.pooled.slices()
        self.measured: dict[tuple[Method, int], stats.Interval] = {}
        for arm in self.methods:
            pairs = Pairs(self.baseline, arm)
            for number, where in enumerate(self.slices):
                self.measured[arm.method, number] = pairs.speedup(where)

    def rows(self) -> Iterator[Row]:
        """Yield measured speedup, proxy and losslessness for each method and slice."""
        for arm in self.methods:
            pairs = Pairs(self.baseline, arm)
            pooled = arm.pooled
            for number, where in enumerate(self.slices):
                figures = [
                    Figure("speedup_measured", "ratio", self.measured[arm.method, number], PAIRED_EVIDENCE),
                    Figure("speedup_proxy", "ratio", self._proxy(pooled, arm, where), "Eq. 3"),
                    pairs.identical(where),
                ]
                for figure in figures:
                    yield Row(cell=_cell(arm), slice=where, estimate=figure.estimate())

    def _proxy(self, pooled: RunColumns, arm: Arm, where: Slice) -> stats.Interval:
        """Return Eq. 3 of a slice: its AL, and the step times of the whole load."""
        t_ar = step_latency(self.baseline.pooled, arm.concurrency)
        t_sd = step_latency(pooled, arm.concurrency)
        al = interval_of(pooled.acceptance_sums(where).al_per_step)
        note = f"AL of the slice, step times at batch {arm.concurrency} of the same runs"
        quiet = [_without_note(interval) for interval in (al, t_ar, t_sd)]
        return speedup.proxy_speedup(*quiet, note=note)

    def decisions(self) -> list[dict[str, Any]]:
        """Return on, off or cannot tell for each slice; all slices of a load hold together."""
        n_comparisons = len(self.measured)
        found = []
        for number, where in enumerate(self.slices):
            candidates = [
                gate.Candidate(*arm.method, self.measured[arm.method, number])
                for arm in self.methods
            ]
            what = next(iter(where.values()), "all")
            decision = gate.decide(
                candidates, margin=MARGIN, n_comparisons=n_comparisons, what=what
            )
            chosen = decision.candidate
            found.append(
                {
                    "concurrency": self.baseline.concurrency,
                    "slice": dict(where),
                    "verdict": decision.verdict,
                    "method": chosen.method if chosen else None,
                    "draft_length": chosen.draft_length if chosen else None,
                    "why": decision.why,
                    "confidence": decision.confidence,
                }
            )
        return found


class Pairs:
    """Requests of a baseline and a method that had the same input in the same repeat."""

    def __init__(self, baseline: Arm, arm: Arm) -> None:
        self.baseline, self.arm = baseline, arm
        self.tables = [
            _pair(one, other)
            for one, other in zip(baseline.repeats, arm.repeats, strict=False)
        ]

    def speedup(self, where: Slice) -> stats.Interval:
        """Return decode seconds per token, pooled, without speculation over with it."""
        pairs = list(zip(self._repeats(), self.tables, strict=True))
        ar = [_decode_sums(sides[0], table[0], where) for sides, table in pairs]
        sd = [_decode_sums(sides[1], table[1], where) for sides, table in pairs]
        return speedup.measured_speedup_launches(
            np.stack([s.seconds for s in ar]),
            np.stack([s.tokens for s in ar]),
            np.stack([s.seconds for s in sd]),
            np.stack([s.tokens for s in sd]),
            rng=fresh_rng(),
            note=self._unpaired(where),
        )

    def identical(self, where: Slice) -> Figure:
        """Return the share of paired requests whose outputs are the same, id by id."""
        same: list[bool] = []
        prompts: list[int] = []
        for (one, other), table in zip(self._repeats(), self.tables, strict=True):
            left = one.finished["output_ids"].to_list()
            right = other.finished["output_ids"].to_list()
            wanted = one.mask(where)
            for i, j in zip(*table, strict=True):
                if wanted[i]:
                    same.append(left[i] == right[j])
                    prompts.append(int(one.prompt_of_request[i]))
        interval = stats.mean_interval(
            np.array(same, dtype=np.float64), clusters=prompts, rng=fresh_rng()
        )
        note = f"{sum(same)} of {len(same)} paired requests"
        return Figure("identical_share", "share", interval.noted(note), "output token ids")

    def _repeats(self) -> list[tuple[RunColumns, RunColumns]]:
        return list(zip(self.baseline.repeats, self.arm.repeats, strict=False))

    def _unpaired(self, where: Slice) -> str:
        paired = total = 0
        for (one, _), table in zip(self._repeats(), self.tables, strict=True):
            mask = one.mask(where)
            total += int(mask.sum())
            paired += int(mask[table[0]].sum())
        return "" if paired == total else f"{paired} of {total} requests had the same input"


def _pair(one: RunColumns, other: RunColumns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row numbers of the requests with equal id and equal input, on both sides."""
    keys = ["request_id", "input_hash"]
    joined = one.finished.select("row", *keys).join(
        other.finished.select("row", *keys), on=keys, suffix="_other", maintain_order="left"
    )
    return joined["row"].to_numpy(), joined["row_other"].to_numpy()


def _decode_sums(
    columns: RunColumns, rows: NDArray[np.int64], where: Slice
) -> timing.DecodeSums:
    """Add up decode seconds and tokens per prompt, of the given requests that are in the slice."""
    chosen = np.zeros(len(columns.finished), dtype=np.bool_)
    chosen[rows] = True
    n_prompts = len(columns.prompts)
    unit = np.where(chosen & columns.mask(where), columns.prompt_of_request, n_prompts)
    if columns.streams is None:
        nothing = np.zeros(n_prompts)
        return timing.DecodeSums(nothing, nothing, nothing, len(rows))
    sums = timing.decode_sums_by(columns.streams, unit, n_prompts + 1)
    return timing.DecodeSums(sums.seconds[:-1], sums.tokens[:-1], sums.requests[:-1], 0)


def _without_note(found: stats.Interval) -> stats.Interval:
    return replace(found, note="")


def _cell(arm: Arm) -> dict[str, Any]:
    method, draft_length = arm.method
    return {"method": method, "draft_length": draft_length, "concurrency": arm.concurrency}


def _counts(runs: Sequence[StudyRun]) -> dict[str, Any]:
    failed = sum(run.trace.requests["failure_kind"].count() for run in runs)
    return {
        "runs": len(runs),
        "requests": sum(len(run.trace.requests) for run in runs),
        "failed": int(failed),
        "output_tokens": int(sum(run.trace.requests["n_output_tokens"].sum() for run in runs)),
    }
