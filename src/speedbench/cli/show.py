"""What a run says on the terminal when it is done."""

from __future__ import annotations

from pathlib import Path

from speedbench.records import Summary


def show_run(summary: Summary, directory: Path) -> None:
    print(summary.counts, directory)
    for row in summary.estimates:
        if not row.slice: print(row.estimate.estimand, row.estimate.value, row.estimate.low, row.estimate.high, row.estimate.n, row.estimate.note)
