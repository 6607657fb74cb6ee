"""From a run directory to what it says: everything behind the journal, as often as one likes.

    journal -> trace                         `read_trace`
               trace -> summary              `analyse_run`

No engine is needed: the journals hold what was received, the manifest which engine sent it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from speedbench import launch, load, store, summary, trace
from speedbench.config import validated
from speedbench.engines import CountsSpeculation, StreamError, engine
from speedbench.records import ServerCounts, Summary


def read_trace(path: Path) -> tuple[store.Manifest, trace.Trace]:
    """Read the journals of a run directory into columns."""
    manifest = store.read_manifest(path)
    adapter = engine(manifest.config["engine"]["engine"])
    recording = load.read_journals(store.journals(path))
    exchanges = recording.exchanges(recording.ended().values())
    attempts = (_attempt(exchange) for exchange in exchanges)
    return manifest, trace.build(attempts, store.read_prompts(path), adapter.decode)


def _attempt(exchange: load.Exchange) -> trace.Attempt:
    sent, ended = exchange.sent, exchange.ended
    assert ended is not None
    return trace.Attempt(
        request=exchange.request,
        launch=exchange.launch,
        block=sent.block,
        number=sent.attempt,
        scheduled_ns=sent.scheduled_ns,
        connect_ns=sent.connect_ns or None,
        sent_ns=sent.sent_ns,
        ended_ns=ended.at_ns,
        events=exchange.events,
        failed=ended.failed,
    )


def analyse_run(path: Path) -> Summary:
    """Compute everything a single run can say, from its journals, and write it beside them."""
    manifest, columns = read_trace(path)
    write_tables(path, columns)
    checked = checked_client(path, columns)
    cell = cell_of(manifest)
    notes = [*cautions(manifest), *checked.warnings]
    result = summary.of_run(
        columns, cell, manifest.dataset, manifest.engine, notes, server_counts(path, manifest)
    )
    result = msgspec.structs.replace(result, facts={**result.facts, "client": checked.facts})
    store.write_summary(path / "summary.json", result)
    return result


def server_counts(path: Path, manifest: store.Manifest) -> ServerCounts | None:
    """Return what the server counted while a run was measured, from the pages kept with it.

    None where it does not count, where a part of the run has no page after it, or where a page
    cannot be read.
    """
    adapter = engine(manifest.config["engine"]["engine"])
    pages = store.counters(path)
    if not isinstance(adapter, CountsSpeculation) or not pages:
        return None
    total = ServerCounts()
    for before, after in pages:
        if after is None:
            return None
        try:
            then, now = adapter.server_counts(before), adapter.server_counts(after)
        except StreamError:
            return None
        total = summary.total(total, summary.difference(now, then))
    return total


def checked_client(path: Path, columns: trace.Trace) -> load.SelfCheck:
    """Find out the client's own error in a run, and write it into the manifest."""
    checked = load.self_check(store.journals(path), columns.requests, columns.chunks)
    store.write_client(path, checked.facts)
    return checked


def write_tables(path: Path, columns: trace.Trace) -> None:
    """Write the three tables of a trace into its run directory."""
    store.write_tables(path, requests=columns.requests, chunks=columns.chunks, steps=columns.steps)


def cautions(manifest: store.Manifest) -> list[str]:
    """Return what must be said beside every figure of a run, by its engine and the preflight."""
    said = engine(manifest.config["engine"]["engine"]).cautions(manifest.config)
    said += [
        f"Before the run, {found['check']}: {found['sentence']}."
        for found in manifest.preflight
        if found["verdict"] in (launch.FAIL, launch.CAUTION)
    ]
    return said


def cell_of(manifest: store.Manifest) -> dict[str, Any]:
    """Return what a run measured, as it stands in every row of a summary."""
    cell = validated(manifest.config).cell
    return {name: value for name, value in msgspec.structs.asdict(cell).items() if value != ""}
