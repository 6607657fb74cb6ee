"""Acceptance figures against cases worked by hand and against Kaplan and Meier's own estimator."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from speedbench.acceptance import (
    Steps,
    acceptance_share,
    al_at_full_draft_length,
    al_given_draft,
    al_per_request,
    al_per_step,
    by_group,
    conditional_rates,
    emitted_histogram,
    joint,
    marginal_rates,
    merge_sums,
    sums_by,
)
from speedbench.errors import TraceError

NAN = float("nan")


@pytest.fixture
def worked() -> Steps:
    """Two requests at γ = 3, an n-gram miss in the second, each cut by its end.

    request 0: 3 of 3 (4 tokens), 0 of 3 (1), 2 of 3 cut by an accepted end-of-sequence (2 tokens)
    request 1: no draft (1), 1 of 3 (2 tokens)
    """
    return Steps.from_arrays(
        [0, 0, 0, 1, 1],
        [4, 1, 2, 1, 2],
        drafted=[3, 3, 3, 0, 3],
        accepted=[3, 0, 2, 0, 1],
        truncated=[False, False, True, False, False],
    )


def test_the_worked_case(worked):
    assert al_per_step(worked).value == 10 / 5
    assert al_per_request(worked).value == pytest.approx((7 / 3 + 3 / 2) / 2)
    assert al_given_draft(worked).value == 9 / 4
    assert al_given_draft(worked).n == 4
    assert acceptance_share(worked).value == 6 / 12
    assert emitted_histogram(worked).tolist() == [0, 2, 2, 0, 1]
    # At risk: position 1 in the 4 drafted steps; position 2 in those with a >= 1; position 3 in
    # those with a >= 2 whose third verdict was seen, which leaves the cut step out.
    rates = conditional_rates(worked)
    assert rates.n.tolist() == [4, 3, 1]
    assert rates.values.tolist() == [3 / 4, 2 / 3, 1 / 1]
    assert joint(worked).values == pytest.approx([3 / 4, 1 / 2, 1 / 2])
    assert al_at_full_draft_length(worked).value == pytest.approx(1 + 3 / 4 + 1 / 2 + 1 / 2)
    assert "conditional" in al_at_full_draft_length(worked).note
    # What an engine's per-position counters would say: the cut counts as a rejection.
    assert marginal_rates(worked).values.tolist() == [3 / 4, 2 / 4, 1 / 4]


def kaplan_meier(times, observed):
    """Product-limit estimate after each time 1 .. max, in fractions (Kaplan and Meier 1958)."""
    survival, out = Fraction(1), []
    for t in range(1, max(times) + 1):
        at_risk = sum(1 for x in times if x >= t)
        deaths = sum(1 for x, event in zip(times, observed, strict=True) if x == t and event)
        survival *= 1 - Fraction(deaths, at_risk)
        out.append(survival)
    return out


def test_joint_is_the_product_limit_estimator():
    # A step "dies" at its first rejected position; it is censored after its last observed one.
    times, events, columns = [], [], []
    for accepted, seen in itertools.product(range(5), range(1, 5)):
        if accepted > seen:
            continue
        died = accepted < seen
        times.append(accepted + 1 if died else seen)
        events.append(died)
        cut = seen < 4 and not died
        columns.append((accepted + (0 if cut else 1), accepted, seen, cut))
    emitted, accepted, seen, cut = zip(*columns, strict=True)
    steps = Steps.from_arrays(
        [0] * len(columns),
        emitted,
        drafted=[4] * len(columns),
        accepted=accepted,
        observed=seen,
        truncated=cut,
    )
    expected = [float(s) for s in kaplan_meier(times, events)]
    assert joint(steps).values == pytest.approx(expected)


def test_a_cut_hides_verdicts_and_does_not_reject():
    # Every draft is accepted, and every response ends one token into its second step.
    steps = Steps.from_arrays(
        [0, 0, 1, 1],
        [4, 1, 4, 1],
        drafted=[3] * 4,
        accepted=[3, 1, 3, 1],
        truncated=[False, True] * 2,
    )
    assert conditional_rates(steps).values.tolist() == [1, 1, 1]
    assert al_at_full_draft_length(steps).value == 4
    assert al_per_step(steps).value == 10 / 4


def test_prompt_lookup_tells_lengths_and_no_rates():
    steps = Steps.from_arrays([0, 0], [3, 1])
    assert al_per_step(steps).value == 2
    for figure in (al_given_draft, acceptance_share, al_at_full_draft_length):
        found = figure(steps)
        assert np.isnan(found.value)
        assert found.n == 0
        assert found.note == "drafted counts unknown for 2 of 2 steps"
    assert conditional_rates(steps).note == "drafted counts unknown for 2 of 2 steps"
    assert sums_by(steps).rate(1).note == "drafted counts unknown for 2 of 2 steps"


def test_one_unknown_step_makes_rates_undefined_until_it_is_left_out():
    steps = Steps.from_arrays([0, 0], [3, 1], drafted=[2, NAN], accepted=[2, NAN])
    assert conditional_rates(steps).note == "drafted counts unknown for 1 of 2 steps"
    assert conditional_rates(steps.select(steps.known)).values.tolist() == [1, 1]


def test_trees_have_lengths_and_no_positions():
    steps = Steps.from_arrays([0, 0], [4, 2], drafted=[14, 14], accepted=[3, 1], shape="tree")
    assert al_per_step(steps).value == 3
    assert acceptance_share(steps).value == 4 / 28
    assert (
        conditional_rates(steps).note == "drafts are trees: an accepted token has no chain position"
    )
    assert np.isnan(al_at_full_draft_length(steps).value)


def test_no_draft_at_all_is_said():
    steps = Steps.from_arrays([0, 0], [1, 1], drafted=[0, 0], accepted=[0, 0])
    assert al_per_step(steps).value == 1
    assert al_given_draft(steps).note == "no step drafted anything"
    assert conditional_rates(steps).note == "no step drafted anything"


def test_a_position_never_reached_is_nan():
    rates = conditional_rates(Steps.from_arrays([0], [1], drafted=[2], accepted=[0]))
    assert rates.values[0] == 0
    assert np.isnan(rates.values[1])
    assert rates.n.tolist() == [1, 0]


def test_empty_input_is_nan_with_no_units():
    empty = Steps.from_arrays([], [], drafted=[], accepted=[], n_requests=2)
    for figure in (al_per_step, al_per_request, al_given_draft, acceptance_share):
        assert np.isnan(figure(empty).value)
        assert figure(empty).n == 0
        assert figure(empty).note
    assert len(conditional_rates(empty).values) == 0
    assert emitted_histogram(empty).sum() == 0
    assert sums_by(empty, [0, 0]).requests.tolist() == [2]


def test_a_response_that_ends_at_once_is_counted_and_breaks_nothing():
    steps = Steps.from_arrays([0, 0], [4, 2], drafted=[3, 3], accepted=[3, 1], n_requests=2)
    sums = sums_by(steps, [0, 1])
    assert sums.requests.tolist() == [1, 1]
    assert sums.requests_with_steps.tolist() == [1, 0]
    assert al_per_request(steps).value == 3
    assert al_per_request(steps).n == 1


def test_any_slice_of_the_metadata():
    steps = Steps.from_arrays([0, 1, 2, 3], [4, 2, 1, 3], drafted=[3] * 4, accepted=[3, 1, 0, 2])
    sums = sums_by(steps)
    by_category = by_group(sums, ["coding", "qa", "qa", None], al_per_step)
    assert {k: v.value for k, v in by_category.items()} == {"coding": 4, "qa": 1.5}
    turns = np.array([0, 1, 0, 1])
    assert al_per_step(steps.of_requests(turns == 1)).value == 2.5


def test_units_that_do_not_fit_are_refused():
    steps = Steps.from_arrays([0, 1], [1, 1])
    with pytest.raises(TraceError, match="there are 2"):
        sums_by(steps, [0])
    with pytest.raises(TraceError, match="must be indices"):
        sums_by(steps, [0.0, 1.0])
    with pytest.raises(TraceError, match="outside the 1 units"):
        sums_by(steps, [0, 1], n_units=1)
    with pytest.raises(TraceError, match="nothing to merge"):
        merge_sums([])
