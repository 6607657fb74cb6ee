"""The arms of a study: all repeats of one method at one load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from speedbench.records import Cell
from speedbench.summary.columns import RunColumns
from speedbench.trace import Trace


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
            key = ((run.cell.method, run.cell.draft_length), run.cell.concurrency or 0)
            found.setdefault(key, []).append(RunColumns.of(run.trace, prompts))
        return {key: cls(key[0], key[1], tuple(repeats)) for key, repeats in found.items()}

    @cached_property
    def pooled(self) -> RunColumns:
        """All repeats as if they had been one run; a prompt stays one independent unit."""
        requests, steps, chunks = [], [], []
        shift = 0
        for number, repeat in enumerate(self.repeats):
            launch = pl.col("launch") + number * 1_000_000  # a repeat is a launch of its own
            moved = pl.col("request") + shift
            requests.append(repeat.trace.requests.with_columns(moved, launch))
            steps.append(repeat.trace.steps.with_columns(moved))
            chunks.append(repeat.trace.chunks.with_columns(moved))
            shift += len(repeat.trace.requests)
        frames = [pl.concat(parts) for parts in (requests, chunks, steps)]
        return RunColumns(Trace(*frames), self.repeats[0].prompts)

    @property
    def cell(self) -> dict[str, Any]:
        """Return what the arm measured, as it stands in every row of a summary."""
        method, draft_length = self.method
        return {
            "method": method,
            "draft_length": draft_length,
            "concurrency": self.concurrency,
        }
