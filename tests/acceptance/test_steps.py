"""Impossible data raises one sentence naming request and step; unknown data does not."""

import numpy as np
import pytest

from speedbench.acceptance import Steps
from speedbench.errors import TraceError

IMPOSSIBLE = [
    (
        {"request": [0, 1, 1], "emitted": [1, 1, 6], "drafted": [4] * 3, "accepted": [0, 0, 5]},
        "request 1, step 1: accepted 5 of 4 drafted",
    ),
    (
        {"request": [0, 0], "emitted": [1, 4], "drafted": [4, 4], "accepted": [0, 2]},
        "request 0, step 1: emitted 4 tokens with 2 accepted drafts",
    ),
    (
        {"request": [0], "emitted": [2], "drafted": [4], "accepted": [2]},
        "request 0, step 0: emitted 2 of 3 tokens, and is not marked as truncated",
    ),
    (
        {"request": [0], "emitted": [1], "drafted": [2], "accepted": [0], "observed": [3]},
        "request 0, step 0: verdicts on 3 of 2 drafted positions",
    ),
    (
        {"request": [0, 0], "emitted": [2, 0]},
        "request 0, step 1: emitted no token, and is not marked as truncated",
    ),
    (
        {"request": [3, 3], "emitted": [1.0, float("nan")]},
        "request 3, step 1: emitted is nan, not a count",
    ),
    (
        {"request": [0], "emitted": [1], "drafted": [2.5], "accepted": [0]},
        "request 0, step 0: drafted is 2.5, not a count",
    ),
    (
        {"request": [0], "emitted": [1], "drafted": [2], "accepted": [-1]},
        "request 0, step 0: accepted is -1, not a count",
    ),
    ({"request": [0.5], "emitted": [1]}, "row 0: request is 0.5, not a count"),
    ({"request": [0, 1], "emitted": [1]}, "column emitted has 1 rows, and request has 2"),
    (
        {"request": [0], "emitted": [1], "truncated": [True, False]},
        "column truncated has shape (2,), and (1,) is needed",
    ),
    (
        {"request": [0], "emitted": [1], "truncated": [float("nan")]},
        "column truncated holds something else than true and false",
    ),
    (
        {"request": [4], "emitted": [1], "n_requests": 2},
        "request index 4 is outside the 2 requests stated",
    ),
]


@pytest.mark.parametrize(("columns", "sentence"), IMPOSSIBLE)
def test_impossible_data_names_request_and_step(columns, sentence):
    with pytest.raises(TraceError) as caught:
        Steps.from_arrays(**columns)
    assert str(caught.value) == sentence


def test_requests_are_called_by_their_names():
    with pytest.raises(TraceError, match="request coding-7/turn-1, step 2: accepted 5 of 4"):
        Steps.from_arrays(
            [1, 0, 1, 1],
            [1, 1, 1, 6],
            drafted=[4] * 4,
            accepted=[0, 0, 0, 5],
            names=["qa-1/turn-0", "coding-7/turn-1"],
        )


def test_a_cut_step_may_emit_less_than_was_accepted():
    # The engine counted 4 accepted drafts before the token limit cut the step to 2 tokens.
    steps = Steps.from_arrays([0], [2], drafted=[5], accepted=[4], truncated=[True])
    assert steps.observed.tolist() == [2]


def test_a_cut_step_that_ends_in_the_verifiers_own_token_shows_its_rejection():
    # 2 tokens out, 1 accepted: the second is the verifier's, so position 2 was seen to be rejected.
    steps = Steps.from_arrays([0], [2], drafted=[5], accepted=[1], truncated=[True])
    assert steps.observed.tolist() == [2]


def test_observed_is_taken_where_it_is_known_and_derived_elsewhere():
    steps = Steps.from_arrays(
        [0, 0], [2, 2], drafted=[5, 5], accepted=[1, 1], observed=[1, np.nan], truncated=[True] * 2
    )
    assert steps.observed.tolist() == [1, 2]


def test_unknown_is_neither_zero_nor_an_error():
    steps = Steps.from_arrays([0, 0], [3, 1], drafted=[4, np.nan], accepted=[2, np.nan])
    assert steps.known.tolist() == [True, False]
    assert not Steps.from_arrays([0], [3]).known.any()


def test_of_requests_renumbers_and_keeps_requests_without_steps():
    steps = Steps.from_arrays([0, 2, 2], [1, 2, 3], n_requests=4)
    some = steps.of_requests(np.array([False, True, True, True]))
    assert some.request.tolist() == [1, 1]
    assert some.n_requests == 3
    with pytest.raises(TraceError, match="does not choose among 4 requests"):
        steps.of_requests(np.array([True]))
