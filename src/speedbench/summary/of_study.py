"""What several runs over the same prompts say together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from speedbench.records import Row, Summary
from speedbench.summary.arms import BASELINE, Arm, Method, StudyRun
from speedbench.summary.columns import OVERALL
from speedbench.summary.comparison import Comparison, Decide
from speedbench.summary.cost import cost_rows
from speedbench.summary.estimates import (
    Figure,
    acceptance_figures,
    step_latency,
    text_figures,
    timing_figures,
)


def of_study(
    runs: Sequence[StudyRun],
    side_runs: Sequence[StudyRun],
    dataset: Mapping[str, Any],
    engine: Mapping[str, Any],
    notes: Sequence[str],
    decide: Decide,
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
    decide
        Makes a decision of the measured speedups of a slice (the gate's, handed in).
    """
    arms = Arm.all_of(runs)
    rows: list[Row] = []
    decisions: list[dict[str, Any]] = []
    for concurrency in dict.fromkeys(c for _, c in arms):
        here = {method: arm for (method, c), arm in arms.items() if c == concurrency}
        rows += [row for arm in here.values() for row in _own_rows(arm)]
        comparison = Comparison(here)
        rows += list(comparison.rows())
        decisions += comparison.decisions(decide)
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
            yield from cost_rows(arm.cell, baseline.pooled, alone.pooled, arm.pooled, method[1])
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
    cell = arm.cell
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


def _counts(runs: Sequence[StudyRun]) -> dict[str, Any]:
    requests = pl.concat([run.trace.requests for run in runs])
    kinds = requests["failure_kind"].drop_nulls().value_counts(sort=True)
    return {
        "runs": len(runs),
        "requests": len(requests),
        "failed": int(requests["failure_kind"].count()),
        "failures": dict(kinds.iter_rows()),
        "output_tokens": int(requests["n_output_tokens"].sum()),
    }
