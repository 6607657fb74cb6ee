"""What the user sees while requests run: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from speedbench.launch import Finding
    from speedbench.records import Failed

STYLES = {"pass": "green", "caution": "yellow", "fail": "bold red", "cannot tell": "dim"}
SECONDS_BETWEEN_LINES = 10.0
LOG_LINE = 90
"""So much of an engine's last line is shown while it starts."""


class PlainProgress:
    """Prints a line every few seconds; for logs and pipes."""

    def __init__(self, n_requests: int | None) -> None:
        self.n_requests = n_requests
        self.n_ended = self.n_failed = self.n_reads = 0
        self.started_s = self.printed_s = time.monotonic()
        self.label = ""

    def describe(self, label: str) -> None:
        """Name what is being measured now."""
        self.label = label

    def starting(self, waited_s: float, line: str) -> None:
        """Say how long an engine has been starting, every few seconds."""
        now_s = time.monotonic()
        if now_s - self.printed_s >= SECONDS_BETWEEN_LINES:
            self.printed_s = now_s
            said = f": {line[:LOG_LINE]}" if line else ""
            print(f"waiting for the engine, {waited_s:.0f} s{said}", file=sys.stderr, flush=True)

    def checked(self, findings: Sequence[Finding]) -> None:
        """Show what was found out about the server."""
        for found in findings:
            print(_line(found), file=sys.stderr, flush=True)
        self.started_s = time.monotonic()

    def kept(self, n_finished: int, n_torn_bytes: int) -> None:
        """Say what a resumed run begins with."""
        torn = f"; a damaged record of {n_torn_bytes} bytes was cut off" if n_torn_bytes else ""
        print(
            f"resuming: {n_finished} finished requests are kept and not sent again{torn}",
            file=sys.stderr,
            flush=True,
        )

    def received(self, n_reads: int) -> None:
        """Note that something has arrived."""
        self.n_reads += n_reads
        self._show()

    def ended(self, request_id: str, failed: Failed | None) -> None:
        """Note that a request has ended."""
        self.n_ended += 1
        self.n_failed += failed is not None
        self._show()

    def line(self, now_s: float) -> str:
        """Return the state as one line."""
        elapsed_s = now_s - self.started_s
        failed = f", {self.n_failed} failed" if self.n_failed else ""
        label = f"{self.label}: " if self.label else ""
        of, left = "", ""
        if self.n_requests is not None:
            of = f"/{self.n_requests}"
            if self.n_ended:
                left_s = elapsed_s / self.n_ended * (self.n_requests - self.n_ended)
                left = f", about {left_s:.0f} s left"
        return (
            f"{label}{self.n_ended}{of} requests{failed}, {self.n_reads / elapsed_s:.0f} "
            f"reads/s{left}"
        )

    def _show(self) -> None:
        now_s = time.monotonic()
        if now_s - self.printed_s >= SECONDS_BETWEEN_LINES:
            self.printed_s = now_s
            print(self.line(now_s), file=sys.stderr, flush=True)


class LiveProgress(PlainProgress):
    """Keeps a rich progress bar up to date."""

    def __init__(self, n_requests: int | None, bar: Progress, task: TaskID) -> None:
        super().__init__(n_requests)
        self._bar, self._task = bar, task

    def describe(self, label: str) -> None:
        """Name what is being measured now."""
        super().describe(label)
        self._bar.update(self._task, description=label)

    def starting(self, waited_s: float, line: str) -> None:
        """Show how long an engine has been starting."""
        self._bar.update(self._task, speed=f"{waited_s:.0f} s {line[:LOG_LINE]}")

    def checked(self, findings: Sequence[Finding]) -> None:
        """Show what was found out about the server, above the bar."""
        for found in findings:
            style = STYLES.get(found.verdict, "")
            self._bar.console.print(_line(found), style=style, markup=False)
        self.started_s = time.monotonic()

    def _show(self) -> None:
        speed = self.n_reads / max(time.monotonic() - self.started_s, 1e-9)
        failed = f" {self.n_failed} failed" if self.n_failed else ""
        self._bar.update(self._task, completed=self.n_ended, speed=f"{speed:.0f} reads/s{failed}")


def _line(found: Finding) -> str:
    return f"preflight, {found.check}: {found.verdict}, {found.sentence}"


def announce(directory: Path) -> None:
    """Say where everything is written, so that an interrupted run can be found and finished."""
    print(f"writing to {directory}", file=sys.stderr, flush=True)


@contextmanager
def progress(n_requests: int | None) -> Iterator[PlainProgress]:
    """Yield an observer of `n_requests` requests (None: nobody knows) that shows how far it is."""
    if not sys.stderr.isatty():
        yield PlainProgress(n_requests)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    ]
    # Few refreshes: drawing costs processor time, which the engine may need.
    with Progress(
        *columns, console=Console(stderr=True), transient=True, refresh_per_second=2
    ) as bar:
        task = bar.add_task("starting the engine", total=n_requests, speed="")
        yield LiveProgress(n_requests, bar, task)
