"""What an engine says about its own end, as one line for an error message."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

LAST_LINES = 8
LONGEST_LINE = 300
TAIL_BYTES = 256 << 10
SAID_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|bad_alloc|MemoryError|cannot allocate memory|"
    r"failed to allocate|unable to allocate|No available memory for the cache blocks",
    re.IGNORECASE,
)
SAID_OF_PORT = re.compile(r"address already in use|couldn't bind", re.IGNORECASE)
EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception)(?:: .|$)")
"""Begins the end of a traceback."""
REPORTED = re.compile(r"\b(?:error|failed|fatal)\b|terminate called", re.IGNORECASE)
NO_COMPLAINT = re.compile(
    r"\b(?:DEBUG|INFO|WARN|WARNING|DeprecationWarning|UserWarning)\b|^[\d.]+ [DIW] "
)
PREFIX = re.compile(
    r"(?:\(\w+ pid=\d+\) ?)?(?:ERROR \S+ \S+ \[[^\]]*\] ?|(?:\[[^\]]*\] ?)+|[\d.]+ E )?"
)
"""What engines put before what they report: process, level, time, place."""


def last_lines(log: Path, begins_at: int = 0) -> str:
    """Return the end of a log as one line, for an error message.

    Parameters
    ----------
    log
        What the process wrote.
    begins_at
        The byte at which its part of the file begins.
    """
    return " / ".join(lines(log, begins_at)[-LAST_LINES:]) or "(it said nothing)"


def account(log: Path, begins_at: int = 0) -> str:
    """Return the engine's own words about its end, as one line: the telling ones, then the last.

    Parameters
    ----------
    log
        What it wrote.
    begins_at
        Where in the file this launch begins.
    """
    said = [PREFIX.sub("", line, count=1) for line in _complaints(log, begins_at)]
    parts = []
    if memory := _first(SAID_OF_MEMORY, said):
        parts.append(f"it ran out of memory: {memory}")
    elif port := _first(SAID_OF_PORT, said):
        parts.append(f"its port was taken: {port}")
    elif reason := _exception(said) or _first(REPORTED, said):
        parts.append(f"it says: {reason}")
    parts.append(f"its last lines: {last_lines(log, begins_at)}")
    return "; ".join(parts)


def lines(log: Path, begins_at: int = 0) -> list[str]:
    """Return the lines at the end of a log that are not empty, without the space around them.

    Parameters
    ----------
    log
        What the process wrote.
    begins_at
        The byte at which its part of the file begins.
    """
    return [line.strip() for line in _written(log, begins_at)]


def _complaints(log: Path, begins_at: int) -> list[str]:
    """Return the lines that do not say of themselves that they are none."""
    return [line for line in _written(log, begins_at) if not NO_COMPLAINT.search(line)]


def _written(log: Path, begins_at: int) -> list[str]:
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(begins_at, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def _first(pattern: re.Pattern[str], said: list[str]) -> str:
    """Return the first line with a pattern, which names the cause; what follows reports it on."""
    return next((line.strip()[:LONGEST_LINE] for line in said if pattern.search(line)), "")


def _exception(said: list[str]) -> str:
    """Return how the first traceback ends, with the second line of its message if it has one.

    The first is the cause; those behind it say that a child or an engine has failed.
    """
    for line, following in pairwise([*said, ""]):
        if EXCEPTION.match(line):
            more = following.strip() if following.startswith("  ") else ""
            return f"{line} {more}".strip()[:LONGEST_LINE]
    return ""
