"""How a summary is arranged."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from speedbench.records import Summary
from speedbench.report import view


def test_slices_stand_by_acceptance_length_and_alike_at_every_load(study: Summary) -> None:
    loads = view.study_view(study).loads
    assert [load.concurrency for load in loads] == [1, 8]
    for load in loads:
        names = [line.name for line in load.all_lines]
        assert names == ["coding", "math", "roleplay", "all prompts"]


def test_the_best_is_the_one_turned_on_else_the_fastest(study: Summary) -> None:
    first, last = view.study_view(study).loads
    coding, math_, roleplay = first.lines
    assert coding.best.arm.name == "draft_model γ=3"
    assert math_.best.arm.name == "ngram γ=3"  # the other has no speedup
    assert math_.next_best is not None
    assert math_.next_best.arm.name == "draft_model γ=3"
    assert roleplay.best.speedup.value == 0.70
    assert last.lines[1].best.speedup.value == 0.72


def test_the_unexpanded_pair_is_kept_apart(study: Summary) -> None:
    shown = view.study_view(study)
    assert [found.estimate.value for found in shown.unexpanded] == [0.7]
    assert [cost.label for cost in shown.costs] == ["c_draft", "c_verify"]
    assert shown.loads[0].overall.best.speedup.value == 1.20


def test_what_outputs_share_is_said(make_a_study: Any) -> None:
    study = make_a_study()
    assert "Every output is identical" in " ".join(view.measured(view.study_view(study)))
    rows = [
        replace(row, estimate=replace(row.estimate, value=0.994))
        if row.estimate.estimand == "identical_share"
        else row
        for row in study.estimates
    ]
    said = " ".join(view.measured(view.study_view(replace(study, estimates=rows))))
    assert "identical to those without speculation: ngram γ=3 at 1 stream 0.994," in said


def test_the_note_of_a_speedup_is_said(make_a_study: Any) -> None:
    study = make_a_study()
    note = "n counts blocks of prompts; one launch"
    rows = [replace(row, estimate=replace(row.estimate, note=note)) for row in study.estimates]
    said = view.measured(view.study_view(replace(study, estimates=rows)))
    assert said.count("Speedup: intervals resample blocks of prompts; one launch.") == 1


def test_a_run_keeps_its_slices_by_property(run: Summary) -> None:
    whole, groups = view.run_view(run)
    assert whole.estimates["al_per_step"].value == 1.7
    assert [(group.by, [line.name for line in group.lines]) for group in groups] == [
        ("category", ["coding", "math"]),
        ("turn", ["0"]),
    ]


def test_rates_stand_in_the_order_of_positions(make_a_run: Any) -> None:
    run = make_a_run({f"ar_{i}": i / 100 for i in (10, 2, 1, 9)})
    whole, _ = view.run_view(run)
    assert [rate.estimand for rate in view.rates_of(whole.estimates)] == [
        "ar_1",
        "ar_2",
        "ar_9",
        "ar_10",
    ]


def test_only_the_demo_pair_is_a_toy(study: Summary, run: Summary) -> None:
    assert view.is_toy(study)
    assert not view.is_toy(run)
