"""The terminal's screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from speedbench.cli import show
from speedbench.records import Summary

DIRECTORY = Path("speedbench-runs/example")


@pytest.fixture
def width(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_width(columns: int) -> None:
        monkeypatch.setattr(show, "PIPE_WIDTH", columns)

    return set_width


@pytest.mark.parametrize("columns", [100, 80])
def test_study_screen(
    study: Summary,
    columns: int,
    width: Any,
    capsys: pytest.CaptureFixture[str],
    snapshot: SnapshotAssertion,
) -> None:
    width(columns)
    show.show_study(study, DIRECTORY)
    screen = capsys.readouterr().out
    assert max(map(len, screen.splitlines())) <= columns
    assert "\x1b" not in screen
    assert "nan" not in screen
    assert screen == snapshot


@pytest.mark.parametrize("columns", [100, 80])
def test_run_screen(
    run: Summary,
    columns: int,
    width: Any,
    capsys: pytest.CaptureFixture[str],
    snapshot: SnapshotAssertion,
) -> None:
    width(columns)
    show.show_run(run, DIRECTORY)
    screen = capsys.readouterr().out
    assert max(map(len, screen.splitlines())) <= columns
    assert screen == snapshot


def test_a_run_without_evidence_has_only_what_there_is(
    make_a_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "The engine gave no evidence about speculation: acceptance is not reported."
    show.show_run(make_a_run({"ttft_s_p50": 0.3211}, notes=[note]), DIRECTORY)
    screen = capsys.readouterr().out
    assert "AL" not in screen
    assert "321" in screen
    assert note in screen


def test_names_are_shown_as_they_are(make_a_study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"coding": "[red]x[/red]", "math": "a\x1b[2Jb\u202e", "roleplay": "数" * 60}
    show.show_study(make_a_study(rename=names, title="[bold]t[/bold]"), DIRECTORY)
    screen = capsys.readouterr().out
    assert "[red]x[/red]" in screen
    assert "[bold]t[/bold]" in screen
    assert "a\\u001b[2Jb\\u202e" in screen
    assert "\x1b" not in screen


def test_the_paths_come_last(
    study: Summary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").touch()
    show.show_study(study, tmp_path)
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last == [str(tmp_path / "summary.json"), str(tmp_path / "report.html")]


def test_a_run_in_which_everything_failed_says_why(
    make_a_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"planned": 24, "finished": 0, "failed": 24, "failures": {"connection": 24}}
    show.show_run(make_a_run({}, counts=counts), DIRECTORY)
    assert "24 failed (24 connection)" in capsys.readouterr().out
