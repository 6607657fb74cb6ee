"""What must hold for any data at all."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from speedbench.acceptance import (
    Steps,
    al_at_full_draft_length,
    al_from_rates,
    al_per_request,
    al_per_step,
    conditional_rates,
    constant_rate_al,
    constant_rate_for_al,
    joint,
    merge_sums,
    sums_by,
)

GAMMA = 5


@st.composite
def a_step(draw):
    drafted = draw(st.integers(0, GAMMA))
    accepted = draw(st.integers(0, drafted))
    cut = draw(st.booleans())
    emitted = draw(st.integers(0, accepted + 1)) if cut else accepted + 1
    return drafted, accepted, emitted, cut


runs = st.lists(st.lists(a_step(), max_size=6), min_size=1, max_size=6)


def steps_of(requests, order=None):
    rows = [(r, *step) for r, steps in enumerate(requests) for step in steps]
    if order is not None:
        rows = [rows[i] for i in order]
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 5
    request, drafted, accepted, emitted, cut = columns
    return Steps.from_arrays(
        request,
        emitted,
        drafted=drafted,
        accepted=accepted,
        truncated=np.array(cut, bool),
        n_requests=len(requests),
    )


def same(a, b):
    for name in ("requests", "steps", "tokens", "request_al", "drafted", "accepted", "at_risk"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-12)
    np.testing.assert_array_equal(a.accepted_at, b.accepted_at)


@given(runs, st.randoms(use_true_random=False))
def test_the_order_of_steps_does_not_matter(requests, random):
    order = list(range(sum(map(len, requests))))
    random.shuffle(order)
    same(sums_by(steps_of(requests, order)), sums_by(steps_of(requests)))


@given(runs, st.randoms(use_true_random=False))
def test_the_order_of_requests_does_not_matter(requests, random):
    shuffled = list(requests)
    random.shuffle(shuffled)
    one, two = steps_of(requests), steps_of(shuffled)
    np.testing.assert_allclose(al_per_step(one).value, al_per_step(two).value)
    np.testing.assert_allclose(al_per_request(one).value, al_per_request(two).value)
    np.testing.assert_array_equal(conditional_rates(one).values, conditional_rates(two).values)


@given(runs, runs)
def test_merging_two_runs_equals_the_run_of_both(first, second):
    merged = merge_sums([sums_by(steps_of(first)), sums_by(steps_of(second))])
    same(merged, sums_by(steps_of(first + second)))


@given(runs, st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_units_add_up_to_the_whole(requests, units):
    steps = steps_of(requests)
    per_unit = sums_by(steps, units[: len(requests)], n_units=4)
    whole = sums_by(steps)
    for name in ("requests", "steps", "tokens", "drafted", "at_risk", "accepted_at"):
        np.testing.assert_array_equal(
            getattr(per_unit, name).sum(axis=0), getattr(whole, name).sum(axis=0)
        )


@given(runs)
def test_rates_lie_between_0_and_1_and_joint_never_rises(requests):
    values = joint(steps_of(requests)).values
    defined = values[~np.isnan(values)]
    assert ((defined >= 0) & (defined <= 1)).all()
    assert (np.diff(defined) <= 1e-12).all()


@given(st.integers(1, 8), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_all_accepted_gives_gamma_plus_1_and_none_gives_1(gamma, steps_per_request):
    request = np.repeat(np.arange(len(steps_per_request)), steps_per_request)
    n = len(request)
    every = Steps.from_arrays(request, [gamma + 1] * n, drafted=[gamma] * n, accepted=[gamma] * n)
    none = Steps.from_arrays(request, [1] * n, drafted=[gamma] * n, accepted=[0] * n)
    for figure in (al_per_step, al_per_request, al_at_full_draft_length):
        assert figure(every).value == gamma + 1
    assert al_per_step(none).value == 1
    assert al_per_request(none).value == 1
    assert conditional_rates(none).values[0] == 0


rates = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(rates, st.integers(0, 7), st.floats(0, 1))
def test_al_rises_with_any_rate(values, position, higher):
    position %= len(values)
    raised = list(values)
    raised[position] = max(values[position], higher)
    assert al_from_rates(raised) >= al_from_rates(values)


@given(st.floats(0, 1), st.integers(1, 15))
def test_the_closed_form_is_eq_1_at_equal_rates(rate, gamma):
    np.testing.assert_allclose(
        constant_rate_al(rate, gamma), al_from_rates([rate] * gamma), rtol=1e-9
    )


@given(st.floats(1e-3, 1), st.integers(1, 15))
def test_the_inverse_inverts(rate, gamma):
    al = float(constant_rate_al(rate, gamma))
    np.testing.assert_allclose(constant_rate_for_al(al, gamma), rate, rtol=1e-6, atol=1e-9)


@given(runs)
def test_full_draft_length_equals_al_per_step_where_nothing_is_cut_and_drafts_are_equal(requests):
    whole = [[(GAMMA, a, a + 1, False) for _, a, _, _ in steps] for steps in requests]
    steps = steps_of(whole)
    rates = conditional_rates(steps)
    if len(steps) and not np.isnan(rates.values).any():
        np.testing.assert_allclose(al_at_full_draft_length(steps).value, al_per_step(steps).value)
