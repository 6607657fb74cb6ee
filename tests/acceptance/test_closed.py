"""The arithmetic of the paper, and its edges."""

import numpy as np
import pytest

from speedbench.acceptance import (
    al_from_rates,
    constant_rate_al,
    constant_rate_for_al,
    survival_from_rates,
)
from speedbench.errors import CallError


def test_the_papers_worked_example():
    assert round(float(constant_rate_al(0.9, 3)), 3) == 3.439
    assert round(float(constant_rate_al(0.4, 3)), 3) == 1.624


def test_edges():
    assert float(al_from_rates([])) == 1
    assert constant_rate_al([0.0, 1.0], 4).tolist() == [1, 5]
    assert float(constant_rate_al(0.5, 0)) == 1
    # A rate so close to 1 that 1 - r^n has lost its digits: 1 + r + r^2 + r^3 by hand.
    r = 1 - 1e-12
    assert float(constant_rate_al(r, 3)) == pytest.approx(4 - 6e-12, rel=1e-15)


def test_an_undefined_rate_spreads_to_later_positions_only():
    survival = survival_from_rates([0.5, np.nan, 0.5])
    assert survival[0] == 0.5
    assert np.isnan(survival[1:]).all()


def test_many_at_once():
    np.testing.assert_allclose(al_from_rates([[0.5, 0.5], [1.0, 0.0]]), [1.75, 2.0])


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(CallError, match=r"outside \[0, 1\]"):
        al_from_rates([rate])
    with pytest.raises(CallError, match="must be in"):
        constant_rate_al(rate, 3)


def test_an_al_that_no_rate_gives_is_refused():
    assert np.isnan(constant_rate_for_al(np.nan, 3))
    assert constant_rate_for_al(1.0, 3) == pytest.approx(0, abs=1e-12)
    assert constant_rate_for_al(4.0, 3) == pytest.approx(1)
    for al in (0.9, 4.1):
        with pytest.raises(CallError, match=r"it lies in \[1, 4\]"):
            constant_rate_for_al(al, 3)
