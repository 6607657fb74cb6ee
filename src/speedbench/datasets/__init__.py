"""Prompts, from where they come to typed records with a fingerprint."""

from __future__ import annotations

from speedbench.datasets.jsonl import Dataset, load
from speedbench.datasets.selection import blocks, select

__all__ = ["Dataset", "blocks", "load", "select"]
