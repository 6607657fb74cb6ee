"""Everything behind the journal can be computed again when the engine is gone, to the digit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.conftest import EmbeddedRun, Finished

from speedbench import analysis, store

pytest.importorskip("openvino_genai", reason="the embedded engine is not installed")

Runs = Mapping[tuple[str, int], EmbeddedRun]
RECORDED = ("manifest.json", "prompts.jsonl", "journal")


@pytest.fixture(params=["none", "ngram", "draft_model"])
def archived(request: pytest.FixtureRequest, embedded_runs: Runs, tmp_path: Path) -> Path:
    """What a run recorded, without anything that was computed from it, at another place."""
    source = embedded_runs[request.param, 4].path
    copy = tmp_path / "archive"
    copy.mkdir()
    for name in RECORDED:
        if (source / name).is_dir():
            shutil.copytree(source / name, copy / name)
        else:
            shutil.copy(source / name, copy / name)
    return copy


def original(archived: Path, embedded_runs: Runs) -> Path:
    method = store.read_manifest(archived).config["engine"]["method"]
    return embedded_runs[method, 4].path


def test_the_summary_is_the_same_byte_for_byte(archived: Path, embedded_runs: Runs) -> None:
    analysis.analyse_run(archived)
    before = original(archived, embedded_runs) / "summary.json"
    assert (archived / "summary.json").read_bytes() == before.read_bytes()


def test_the_tables_are_the_same(archived: Path, embedded_runs: Runs) -> None:
    import polars as pl

    analysis.analyse_run(archived)
    for name in ("requests", "chunks", "steps"):
        found, expected = (
            pl.read_parquet(directory / f"{name}.parquet")
            for directory in (archived, original(archived, embedded_runs))
        )
        assert found.equals(expected)


def test_report_on_the_command_line_does_the_same(
    archived: Path, embedded_runs: Runs, speedbench: Callable[..., Finished]
) -> None:
    done = speedbench("report", archived)
    assert done.code == 0, done.stderr
    before = original(archived, embedded_runs) / "summary.json"
    assert (archived / "summary.json").read_bytes() == before.read_bytes()
    assert (archived / "report.html").read_text().lstrip().lower().startswith("<!doctype html")


def test_the_summary_is_plain_json_without_nan_and_every_estimate_says_what_it_is(
    embedded_runs: Runs,
) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    for run in embedded_runs.values():
        raw = (run.path / "summary.json").read_text()
        summary = json.loads(raw, parse_constant=refuse)
        for row in summary["estimates"]:
            assert row["estimand"]
            assert row["unit"]
            assert row["evidence"]
            assert isinstance(row["n"], int)
            assert (row["value"] is None) == (row["n"] == 0), row
            if row["low"] is not None:  # a quantile may be bounded on one side alone
                assert row["low"] <= row["value"], row
            if row["high"] is not None:
                assert row["value"] <= row["high"], row


def test_rates_of_prompt_lookup_are_undefined_and_never_zero(embedded_runs: Runs) -> None:
    rows = [row.estimate for row in embedded_runs["ngram", 1].summary.estimates if not row.slice]
    by_name = {estimate.estimand: estimate for estimate in rows}
    assert by_name["al_per_step"].value >= 1.0
    assert by_name["al_per_step"].n == 12
    assert by_name["acceptance_share"].n == 0
    assert by_name["acceptance_share"].value != by_name["acceptance_share"].value  # NaN
