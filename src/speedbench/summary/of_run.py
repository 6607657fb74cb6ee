"""What a single run can say by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from speedbench.records import Row, Summary
from speedbench.summary.columns import OVERALL, RunColumns
from speedbench.summary.estimates import (
    Figure,
    acceptance_figures,
    step_latency,
    text_figures,
    throughput_figures,
    timing_figures,
)
from speedbench.trace import Trace

SLICED_BY = ("category", "subcategory", "difficulty", "turn")
DEMO_NOTE = (
    "Measured on the demo pair, a toy that ships with speedbench: the figures show how speculative "
    "decoding behaves, and say nothing about any real model."
)


def of_run(
    trace: Trace,
    cell: Mapping[str, str | int | None],
    dataset: Mapping[str, Any],
    engine: Mapping[str, Any],
) -> Summary:
    """Return every estimate of one run.

    Parameters
    ----------
    trace
        The run's columns.
    cell
        What the run measured, as it goes into each row.
    dataset, engine
        The manifest's accounts of them.
    """
    columns = RunColumns.of(trace)
    rows = [
        Row(cell=cell, slice=where, estimate=figure.estimate())
        for where in columns.slices(SLICED_BY)
        for figure in _figures_of_slice(columns, where)
    ]
    rows += [Row(cell=cell, slice=OVERALL, estimate=f.estimate()) for f in _whole_run(columns)]
    return Summary(
        kind="run",
        title=f"{engine['model']} on {dataset['name']}",
        estimates=rows,
        counts=counts(trace, dataset),
        facts={"engine": dict(engine), "dataset": dict(dataset)},
        notes=notes(columns, engine),
    )


def _figures_of_slice(columns: RunColumns, where: Mapping[str, str]) -> Iterator[Figure]:
    yield from acceptance_figures(columns, where)
    yield from text_figures(columns, where)
    yield from timing_figures(columns, where)


def _whole_run(columns: RunColumns) -> Iterator[Figure]:
    yield from throughput_figures(columns)
    if columns.tier == "none":
        return
    for batch in sorted(columns.step_table["batch"].drop_nulls().unique()):
        found = step_latency(columns, batch)
        evidence = "the engine's own clock around each iteration"
        yield Figure(f"step_latency_s_batch_{batch}", "s", found, evidence)


def counts(trace: Trace, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was planned, what came of it, and every kind of failure."""
    failures = trace.requests.filter(pl.col("failure_kind").is_not_null())
    kinds = failures["failure_kind"].value_counts(sort=True)
    n_sent = len(trace.requests)
    return {
        "planned": dataset["n_requests"],
        "finished": n_sent - len(failures),
        "failed": len(failures),
        "not_sent": dataset["n_requests"] - n_sent,
        "failures": dict(kinds.iter_rows()),
        "output_tokens": trace.requests["n_output_tokens"].sum(),
        "steps": len(trace.steps),
    }


def notes(columns: RunColumns, engine: Mapping[str, Any]) -> list[str]:
    """Return the words that belong beside the numbers."""
    said = [DEMO_NOTE] if "pair" in engine else []
    if columns.tier == "none":
        said.append(
            "The engine gave no evidence about speculation: acceptance is not reported, because a "
            "text chunk is neither a step nor a token."
        )
    return said
