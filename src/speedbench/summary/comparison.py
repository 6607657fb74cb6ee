"""Baseline against methods at one load: gain, proxy, losslessness, decision.

Runs are compared request by request: only those that sent exactly the same input in the same repeat
are paired, and the share that could be paired is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from speedbench import speedup, stats, timing
from speedbench.records import Row
from speedbench.summary.arms import BASELINE, Arm, Method
from speedbench.summary.columns import RunColumns, Slice
from speedbench.summary.estimates import (
    STAMPS,
    Figure,
    fresh_rng,
    interval_of,
    share_of_requests,
    step_latency,
)

Decide = Callable[[str, Sequence[tuple[Method, stats.Interval]], int], dict[str, Any]]
"""A decision, from a slice's name, its measured speedups, and how many are decided together."""

PAIRED_EVIDENCE = f"{STAMPS}; same inputs, same load, paired"


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
                    Figure(
                        "speedup_measured",
                        "ratio",
                        self.measured[arm.method, number],
                        PAIRED_EVIDENCE,
                    ),
                    Figure("speedup_proxy", "ratio", self._proxy(pooled, arm, where), "Eq. 3"),
                    pairs.identical(where),
                ]
                for figure in figures:
                    yield Row(cell=arm.cell, slice=where, estimate=figure.estimate())

    def _proxy(self, pooled: RunColumns, arm: Arm, where: Slice) -> stats.Interval:
        """Return Eq. 3 of a slice: its AL, and the step times of the whole load."""
        t_ar = step_latency(self.baseline.pooled, arm.concurrency)
        t_sd = step_latency(pooled, arm.concurrency)
        al = interval_of(pooled.acceptance_sums(where).al_per_step)
        note = f"AL of the slice, step times at batch {arm.concurrency} of the same runs"
        quiet = [_without_note(interval) for interval in (al, t_ar, t_sd)]
        return speedup.proxy_speedup(*quiet, note=note)

    def decisions(self, decide: Decide) -> list[dict[str, Any]]:
        """Return a decision for each slice; all slices of a load hold together."""
        found = []
        for number, where in enumerate(self.slices):
            measured = [(arm.method, self.measured[arm.method, number]) for arm in self.methods]
            decision = decide(next(iter(where.values()), "all"), measured, len(self.measured))
            load = {"concurrency": self.baseline.concurrency, "slice": dict(where)}
            found.append({**load, **decision})
        return found


class Pairs:
    """Requests of a baseline and a method that had the same input in the same repeat."""

    def __init__(self, baseline: Arm, arm: Arm) -> None:
        self.baseline, self.arm = baseline, arm
        self.tables = [
            _pair(one, other) for one, other in zip(baseline.repeats, arm.repeats, strict=False)
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
            note=self._note(where),
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
        interval = share_of_requests(same, prompts)
        note = f"{sum(same)} of {len(same)} paired requests"
        return Figure("identical_share", "share", interval.noted(note), "output token ids")

    def _repeats(self) -> list[tuple[RunColumns, RunColumns]]:
        return list(zip(self.baseline.repeats, self.arm.repeats, strict=False))

    def _note(self, where: Slice) -> str:
        paired = total = 0
        for (one, _), table in zip(self._repeats(), self.tables, strict=True):
            mask = one.mask(where)
            total += int(mask.sum())
            paired += int(mask[table[0]].sum())
        unit = self.baseline.repeats[0].name_of_time_unit
        counted = f"n counts {unit}"
        if paired == total:
            return counted
        return f"{counted}; {paired} of {total} requests had the same input"


def _pair(one: RunColumns, other: RunColumns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row numbers of the requests with equal id and equal input, on both sides.

    A request that had to be repeated has no partner: what it took is not the engine's time.
    """
    keys = ["request_id", "input_hash"]
    left, right = (
        side.finished.filter(pl.col("attempt") == 0).select("row", *keys) for side in (one, other)
    )
    joined = left.join(right, on=keys, suffix="_other", maintain_order="left")
    return joined["row"].to_numpy(), joined["row_other"].to_numpy()


def _decode_sums(columns: RunColumns, rows: NDArray[np.int64], where: Slice) -> timing.DecodeSums:
    """Add up decode seconds and tokens per unit, of the given requests that are in the slice."""
    chosen = np.zeros(len(columns.finished), dtype=np.bool_)
    chosen[rows] = True
    units, n_units = columns.units_of_time
    if columns.streams is None:
        nothing = np.zeros(n_units)
        return timing.DecodeSums(nothing, nothing, nothing, len(rows))
    unit = np.where(chosen & columns.mask(where), units, n_units)
    sums = timing.decode_sums_by(columns.streams, unit, n_units + 1)
    return timing.DecodeSums(sums.seconds[:-1], sums.tokens[:-1], sums.requests[:-1], 0)


def _without_note(found: stats.Interval) -> stats.Interval:
    return replace(found, note="")
