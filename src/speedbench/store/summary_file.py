"""``summary.json``: every estimate of a run or a study, NaN as null, round-tripped exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from speedbench.errors import CallError
from speedbench.records import Estimate, Row, Summary
from speedbench.store.files import write_bytes

_NUMBERS = ("value", "low", "high")


def write_summary(path: Path, summary: Summary) -> None:
    """Write `summary` to `path`, NaN as null."""
    content = msgspec.to_builtins(summary)
    for row in content["estimates"]:
        row.update(row.pop("estimate"))
    encoded = msgspec.json.encode(_without_nan(content))
    write_bytes(path, msgspec.json.format(encoded, indent=1) + b"\n")


def read_summary(path: Path) -> Summary:
    """Read `path` back, null as NaN.

    Raises
    ------
    CallError
        When the file is missing or is no summary.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
        rows = [_row(row) for row in content.pop("estimates")]
        return Summary(**content, estimates=rows)
    except FileNotFoundError as error:
        raise CallError(
            f"{path} is missing: run `speedbench report {path.parent}` first"
        ) from error
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise CallError(f"{path} is no summary of speedbench: {error}") from error


def _row(row: dict[str, Any]) -> Row:
    cell, slice_ = row.pop("cell"), row.pop("slice")
    numbers = {name: math.nan if row[name] is None else row[name] for name in _NUMBERS}
    return Row(cell=cell, slice=slice_, estimate=Estimate(**{**row, **numbers}))


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(item) for item in value]
    return value
