"""The command line: parse, one call, exit code."""

from __future__ import annotations

from speedbench.cli.app import main

__all__ = ["main"]
