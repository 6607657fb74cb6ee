"""The quickstart's study: every method under every load, measured in turns, analysed together."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Silent

from speedbench import analysis, quickstart
from speedbench.errors import CallError
from speedbench.load import MEASURED, read_journals
from speedbench.records import Summary

pytest.importorskip("openvino_genai", reason="the embedded engine is not installed")

PLAN = quickstart.Plan(
    concurrencies=(1, 2), repeats=1, blocks=2, max_tokens=8, num_prompts=11, side_prompts=2
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary, Silent]:
    path = tmp_path_factory.mktemp("quickstart") / "study"
    observer = Silent()
    return path, quickstart.run(PLAN, path, resume=False, observer=observer), observer


def journals(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*.journal")}


def test_every_planned_request_is_sent_once_and_every_run_stands_alone(
    study: tuple[Path, Summary, Silent],
) -> None:
    path, _, observer = study
    assert len(observer.outcomes) == quickstart.n_requests(PLAN)
    names = quickstart.read_study(path)
    assert len(names.runs) == 3 * 2
    assert len(names.side_runs) == 3
    for name in [*names.runs, *names.side_runs]:
        manifest, columns = analysis.read_trace(path / "runs" / name)
        requests = columns.requests
        assert len(requests) == manifest.dataset["n_requests"] == len(set(requests["request_id"]))
        assert requests["failure_kind"].null_count() == len(requests)


def test_methods_take_turns_in_an_order_that_rotates(
    study: tuple[Path, Summary, Silent],
) -> None:
    labels = [label for label in study[2].labels if "-c1-" in label]
    main = [label for label in labels if "drafter" not in label and "unexpanded" not in label]
    at_load_1 = [label.split("-")[1] for label in main]
    assert at_load_1 == ["none", "ngram", "draft_model", "ngram", "draft_model", "none"]


def test_all_methods_were_asked_the_same_and_answered_the_same(
    study: tuple[Path, Summary, Silent],
) -> None:
    path = study[0]
    answers = []
    for name in quickstart.read_study(path).runs:
        requests = analysis.read_trace(path / "runs" / name)[1].requests.sort("request_id")
        answers.append(requests.select("request_id", "input_hash", "output_ids"))
    assert all(found.equals(answers[0]) for found in answers)


def test_the_summary_is_computed_again_to_the_digit(
    study: tuple[Path, Summary, Silent],
) -> None:
    path = study[0]
    before = (path / "summary.json").read_bytes()
    quickstart.analyse(path)
    assert (path / "summary.json").read_bytes() == before


def test_each_load_and_category_has_a_decision_that_gives_its_reason(
    study: tuple[Path, Summary, Silent],
) -> None:
    decisions = study[1].decisions
    assert {decision["concurrency"] for decision in decisions} == {1, 2}
    assert all(decision["verdict"] and decision["why"] for decision in decisions)


def n_measured(journal: Path) -> int:
    """How many attempts at measured requests a journal holds; warm-ups are not among them."""
    attempts = read_journals([journal]).attempts.values()
    return sum(attempt.sent.phase == MEASURED for attempt in attempts)


def test_a_finished_study_is_not_measured_again(study: tuple[Path, Summary, Silent]) -> None:
    path = study[0]
    with pytest.raises(CallError, match="--resume"):
        quickstart.run(PLAN, path, resume=False, observer=Silent())
    other = quickstart.Plan(seed=9)
    with pytest.raises(CallError, match="another study"):
        quickstart.run(other, path, resume=True, observer=Silent())
    sent = {name: n_measured(path / name) for name in journals(path)}
    quickstart.run(PLAN, path, resume=True, observer=Silent())
    again = {name: n_measured(path / name) for name in journals(path)}
    assert again == sent
