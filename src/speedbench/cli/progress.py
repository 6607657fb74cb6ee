"""What the user sees while requests run: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from speedbench.load import Outcome

SECONDS_BETWEEN_LINES = 10.0


class PlainProgress:
    """Prints a line every few seconds; for logs and pipes."""

    def __init__(self, n_requests: int) -> None:
        self.n_requests = n_requests
        self.n_ended = self.n_failed = self.n_tokens = 0
        self.started_s = self.printed_s = time.monotonic()
        self.label = ""

    def describe(self, label: str) -> None:
        """Name what is being measured now."""
        self.label = label

    def ended(self, outcome: Outcome) -> None:
        """Note that a request has ended."""
        self.n_ended += 1
        self.n_failed += outcome.response is None
        self.n_tokens += (outcome.response and outcome.response.n_output_tokens) or 0
        now_s = time.monotonic()
        if now_s - self.printed_s >= SECONDS_BETWEEN_LINES:
            self.printed_s = now_s
            print(self.line(now_s), file=sys.stderr, flush=True)

    def line(self, now_s: float) -> str:
        """Return the state as one line."""
        elapsed_s = now_s - self.started_s
        left_s = elapsed_s / self.n_ended * (self.n_requests - self.n_ended)
        failed = f", {self.n_failed} failed" if self.n_failed else ""
        label = f"{self.label}: " if self.label else ""
        return (
            f"{label}{self.n_ended}/{self.n_requests} requests{failed}, "
            f"{self.n_tokens / elapsed_s:.0f} tokens/s, about {left_s:.0f} s left"
        )


class LiveProgress(PlainProgress):
    """Keeps a rich progress bar up to date."""

    def __init__(self, n_requests: int, bar: Progress, task: TaskID) -> None:
        super().__init__(n_requests)
        self._bar, self._task = bar, task

    def describe(self, label: str) -> None:
        """Name what is being measured now."""
        super().describe(label)
        self._bar.update(self._task, description=label)

    def ended(self, outcome: Outcome) -> None:
        """Note that a request has ended."""
        self.n_ended += 1
        self.n_failed += outcome.response is None
        self.n_tokens += (outcome.response and outcome.response.n_output_tokens) or 0
        speed = self.n_tokens / max(time.monotonic() - self.started_s, 1e-9)
        failed = f" {self.n_failed} failed" if self.n_failed else ""
        self._bar.update(self._task, advance=1, speed=f"{speed:.0f} tokens/s{failed}")


def announce(directory: Path) -> None:
    """Say where everything is written, so that an interrupted run can be found and finished."""
    print(f"writing to {directory}", file=sys.stderr, flush=True)


@contextmanager
def progress(n_requests: int) -> Iterator[PlainProgress]:
    """Yield an observer of `n_requests` requests that shows how far they are."""
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
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting the engine", total=n_requests, speed="")
        yield LiveProgress(n_requests, bar, task)
