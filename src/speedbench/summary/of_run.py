"""What a single run can say by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from speedbench.records import Row, ServerCounts, Summary
from speedbench.summary import evidence
from speedbench.summary.columns import OVERALL, RunColumns
from speedbench.summary.estimates import (
    Figure,
    acceptance_figures,
    step_gaps,
    step_latency,
    text_figures,
    throughput_figures,
    timing_figures,
)
from speedbench.trace import Trace

SLICED_BY = ("category", "subcategory", "difficulty", "turn")


def of_run(
    trace: Trace,
    cell: Mapping[str, str | int | None],
    dataset: Mapping[str, Any],
    engine: Mapping[str, Any],
    notes: Sequence[str],
    server: ServerCounts | None = None,
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
    notes
        What must be said beside the figures.
    server
        What the server counted of speculation while the run was measured, if it counts.
    """
    columns = RunColumns.of(trace, tree=bool(engine.get("draft_tree")))
    rows = [
        Row(cell=cell, slice=where, estimate=figure.estimate())
        for where in columns.slices(SLICED_BY)
        for figure in _figures_of_slice(columns, where)
    ]
    whole = [*_whole_run(columns)]
    if server is not None and columns.tier == "none":
        whole += evidence.server_figures(server)
    rows += [Row(cell=cell, slice=OVERALL, estimate=figure.estimate()) for figure in whole]
    account = evidence.account(columns, server)
    return Summary(
        kind="run",
        title=f"{_short(engine['model'])} on {dataset['name']}",
        estimates=rows,
        counts=counts(trace, dataset),
        facts={
            "engine": dict(engine),
            "dataset": dict(dataset),
            "evidence": account,
            **_steady(columns),
        },
        notes=[
            *notes,
            *evidence.notes(columns, account, server),
            *retried(trace),
            *resumed(trace),
        ],
    )


def _short(model: str) -> str:
    """Return a model's name without the directories that lead to it; a hub id is left as it is."""
    return model.rpartition("/")[2] if model.startswith(("/", ".")) else model


def _steady(columns: RunColumns) -> dict[str, Any]:
    """Return when the run was at full concurrency, in seconds after its first send."""
    if (window := columns.steady) is None:
        return {}
    began_ns = columns.finished["sent_ns"].to_numpy().min()
    from_s, to_s = (float(at - began_ns) * 1e-9 for at in (window.start_ns, window.end_ns))
    found = {"in_flight": window.concurrency, "from_s": round(from_s, 4), "to_s": round(to_s, 4)}
    return {"steady_window": found}


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
        source = "the engine's own clock around each iteration"
        yield Figure(f"step_latency_s_batch_{batch}", "s", found, source)
    yield from step_gaps(columns)


def counts(trace: Trace, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was planned, what came of it, and every kind of failure."""
    failures = trace.requests.filter(pl.col("failure_kind").is_not_null())
    kinds = failures["failure_kind"].value_counts(sort=True)
    n_sent, planned = len(trace.requests), dataset["n_requests"]
    return {
        "planned": planned,
        "sent": n_sent,
        "finished": n_sent - len(failures),
        "failed": len(failures),
        "not_sent": None if planned is None else planned - n_sent,
        "retried": int((trace.requests["attempt"] > 0).sum()),
        "launches": trace.requests["launch"].n_unique(),
        "failures": dict(kinds.iter_rows()),
        "output_tokens": trace.requests["n_output_tokens"].sum(),
        "steps": len(trace.steps),
    }


def retried(trace: Trace) -> list[str]:
    """Say so if requests were repeated: what they took says nothing about the engine's speed."""
    n_retried = int((trace.requests["attempt"] > 0).sum())
    if not n_retried:
        return []
    return [
        f"{n_retried} requests had to be sent more than once; they are counted, and left out of "
        "every time."
    ]


def resumed(trace: Trace) -> list[str]:
    """Say so if the run was interrupted: its times then come from more than one launch."""
    n_launches = trace.requests["launch"].n_unique()
    if n_launches < 2:
        return []
    return [
        f"The run was interrupted and resumed: its requests come from {n_launches} launches of the "
        "engine, and throughput over the whole run is not given."
    ]
