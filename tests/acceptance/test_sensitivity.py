"""The reading of ambiguous last steps: bounds that hold the estimate, worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.acceptance import Steps, last_step_sensitivity
from speedbench.errors import TraceError


def test_three_readings_of_one_last_step():
    # Whole steps: 1 of 2 and 0 of 2.  The last emitted 1 token: its first verdict is open.
    steps = Steps.from_arrays(
        [0, 0, 0], [2, 1, 1], drafted=[2] * 3, accepted=[1, 0, 0], truncated=[False, False, True]
    )
    found = last_step_sensitivity(steps, np.array([False, False, True]))
    assert found.censored.values.tolist() == [1 / 2, 0]
    assert found.if_accepted.values.tolist() == [2 / 3, 0]
    assert found.if_rejected.values.tolist() == [1 / 3, 0]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=20))
def test_the_estimate_lies_between_the_bounds(rows):
    accepted, open_ones = (np.array(column) for column in zip(*rows, strict=True))
    steps = Steps.from_arrays(
        np.arange(len(rows)),
        accepted + 1,
        drafted=np.full(len(rows), 4),
        accepted=accepted,
        truncated=open_ones,
    )
    found = last_step_sensitivity(steps, open_ones.astype(bool))
    middle, high, low = (r.values for r in (found.censored, found.if_accepted, found.if_rejected))
    known = ~np.isnan(middle)
    assert (low[known] <= middle[known] + 1e-12).all()
    assert (middle[known] <= high[known] + 1e-12).all()


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(TraceError, match="does not mark 1 steps"):
        last_step_sensitivity(Steps.from_arrays([0], [1]), np.array([True, False]))
