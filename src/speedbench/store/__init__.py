"""Run and study directories: what is in them, who may write, and how nothing is lost."""

from __future__ import annotations

from speedbench.store.files import read_json, write_json
from speedbench.store.run_directory import (
    Manifest,
    RunDirectory,
    counters,
    difference,
    environment,
    journals,
    now,
    read_manifest,
    read_prompts,
    write_client,
    write_tables,
)
from speedbench.store.summary_file import read_summary, write_summary

__all__ = [
    "Manifest",
    "RunDirectory",
    "counters",
    "difference",
    "environment",
    "journals",
    "now",
    "read_json",
    "read_manifest",
    "read_prompts",
    "read_summary",
    "write_client",
    "write_json",
    "write_summary",
    "write_tables",
]
