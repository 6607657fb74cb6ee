"""Where the other clients are installed, and what stands in for what they would fetch."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS = REPOSITORY / "build" / "peers"
TOKENIZER = REPOSITORY / "src" / "speedbench" / "demo_pair" / "target"
"""No hub is asked: the demo pair's tokenizer counts and makes up text for every client."""


def program(name: str, executable: str) -> Path:
    """Return a program of the environment of one client."""
    return PEERS / name / "bin" / executable


def installed(name: str) -> Path:
    """Return the file that says what was installed."""
    return PEERS / name / "installed.txt"


def failed(name: str) -> Path:
    """Return the file that says why it could not be installed."""
    return PEERS / f"{name}-failed.txt"


def missing(name: str) -> str | None:
    """Say why a client cannot run, or None."""
    if installed(name).exists() and os.access(program(name, "python"), os.X_OK):
        return None
    if failed(name).exists():
        return f"not installed: {failed(name).read_text().strip()}"
    return "not installed: make bench-peers"
