"""Positions, parts and tails, worked by hand."""

import numpy as np
import pytest

from speedbench.acceptance import (
    Steps,
    al_per_step,
    by_group,
    by_position,
    part_of_steps,
    response_offset,
    sums_by,
    without_tail,
)
from speedbench.errors import CallError, TraceError

NAN = float("nan")


@pytest.fixture
def steps() -> Steps:
    """Requests 0 and 2 interleaved, request 1 without steps; prefills of 1, 1 and 2 tokens."""
    return Steps.from_arrays([2, 0, 2, 0, 0], [3, 1, 1, 4, 2], n_requests=3)


def test_offsets_count_what_stood_before(steps):
    assert response_offset(steps, [1, 1, 2]).tolist() == [2, 1, 5, 2, 6]
    assert response_offset(steps).tolist() == [1, 1, 4, 2, 6]


def test_by_position(steps):
    parts = dict(by_position(steps, [0, 2, 5, 99]))
    assert {span: part.emitted.tolist() for span, part in parts.items()} == {
        (0, 2): [3, 1],
        (2, 5): [1, 4],
        (5, 99): [2],
    }
    with pytest.raises(CallError, match="and rise"):
        by_position(steps, [3, 3])


def test_thinking_and_answer(steps):
    # Request 0 answers from token 2; request 2 marks no parts, so its steps are in neither.
    thinking, answer = part_of_steps(steps, [2, NAN, NAN])
    assert thinking.emitted.tolist() == [1]
    assert answer.emitted.tolist() == [4, 2]


def test_without_the_looping_tail(steps):
    # Request 0 loops from token 5: the step of tokens 2 to 5 reaches into the tail.
    kept = without_tail(steps, [5, NAN, NAN])
    assert kept.request.tolist() == [2, 0, 2]
    assert al_per_step(kept).value == 5 / 3


def test_empty():
    nothing = Steps.from_arrays([], [], n_requests=1)
    assert response_offset(nothing).tolist() == []
    assert len(without_tail(nothing, [NAN])) == 0


def test_lengths_must_agree(steps):
    with pytest.raises(TraceError, match="for 3 requests"):
        without_tail(steps, np.zeros(2))
    with pytest.raises(CallError, match="2 labels were given for 3 units"):
        by_group(sums_by(steps), ["a", "b"], al_per_step)
