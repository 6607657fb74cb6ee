"""The worked example of the paper's arithmetic, and what any model of this form must do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.acceptance import al_from_rates, constant_rate_al
from speedbench.errors import CallError
from speedbench.speedup import best_draft_length, first_order_speedup, relative_costs


def test_the_worked_example():
    speedup = first_order_speedup(constant_rate_al(0.15, 3), 3, c_draft=0.05, c_verify=1.35)
    assert round(float(speedup), 3) == 0.784
    assert best_draft_length(0.9, 0.12, 1.1, max_draft_length=15).draft_length == 9
    assert best_draft_length(0.4, 0.12, 1.1, max_draft_length=15).draft_length == 2


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.floats(0, 0.5),
    st.floats(0.8, 3),
)
def test_the_best_of_measured_rates_is_the_best_of_all(rates, c_draft, c_verify):
    found = best_draft_length(rates, c_draft, c_verify)
    each = [
        float(al_from_rates(rates[:k])) / (c_verify + k * c_draft) for k in range(1, len(rates) + 1)
    ]
    assert found.speedup == pytest.approx(max(each))
    assert each[found.draft_length - 1] == pytest.approx(max(each))
    assert found.pays == (found.speedup > 1)


def test_free_drafts_are_drafted_to_the_end_and_useless_ones_hardly():
    assert best_draft_length(0.5, 0.0, 1.0, max_draft_length=7).draft_length == 7
    useless = best_draft_length(0.0, 0.1, 1.0)
    assert (useless.draft_length, useless.pays) == (1, False)


def test_costs_are_found_again():
    lengths = np.array([1, 3, 5, 7])
    times = (1.2 + lengths * 0.07) * 0.02
    assert relative_costs(0.02, lengths, times) == pytest.approx((0.07, 1.2))


def test_nonsense_is_refused():
    for call in (
        lambda: first_order_speedup(2.0, 3, -0.1, 1.0),
        lambda: first_order_speedup(2.0, 3, 0.1, 0.0),
        lambda: best_draft_length([0.5, 0.4], 0.1, 1.0, max_draft_length=3),
        lambda: best_draft_length([], 0.1, 1.0),
        lambda: best_draft_length([0.5, np.nan], 0.1, 1.0),
        lambda: relative_costs(0.02, [3, 3], [1, 1]),
        lambda: relative_costs(0.0, [1, 3], [1, 1]),
    ):
        with pytest.raises(CallError):
            call()
