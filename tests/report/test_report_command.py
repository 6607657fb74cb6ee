"""``speedbench report`` on directories that are no run and no study, and what summaries survive."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from speedbench import store
from speedbench.cli import main
from speedbench.records import Summary
from speedbench.report.page import rendered


@pytest.mark.parametrize("name", ["", "missing", "file.txt"])
def test_a_directory_that_is_neither_is_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(SystemExit) as left:
        main(["report", str(tmp_path / name)])
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert "neither a run (manifest.json) nor a study (study.json)" in said
    assert said.count("\n") == 1


def test_a_summary_comes_back_as_it_was(study: Summary, study_page: str, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    store.write_summary(path, study)
    back = store.read_summary(path)
    assert "NaN" not in path.read_text()
    assert repr(back.estimates) == repr(study.estimates)  # repr, because NaN equals nothing
    assert any(math.isnan(row.estimate.value) for row in back.estimates)
    assert back.decisions == study.decisions
    assert rendered(back) == study_page
