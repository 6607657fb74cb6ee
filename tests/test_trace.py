"""Attempts become columns, and data that cannot be is refused by the request's name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from speedbench.errors import TraceError
from speedbench.records import (
    Chunk,
    Event,
    Failed,
    Prompt,
    Request,
    Response,
    Sampling,
    Step,
)
from speedbench.trace import Attempt, build

PROMPTS = {"p": Prompt(id="p", category="qa", turns=("Why?",), difficulty="hard")}


def attempt(name: str, *, failed: Failed | None = None, prompt: str = "p") -> Attempt:
    return Attempt(
        request=Request(
            id=name,
            prompt_id=prompt,
            turn=0,
            input_hash="h",
            sampling=Sampling(max_tokens=8),
            input_ids=(1, 2, 3),
        ),
        launch=0,
        block=1,
        scheduled_ns=10,
        sent_ns=11,
        ended_ns=99,
        events=(Event(20, b""),),
        failed=failed,
    )


def decoding(response: Response):
    def decode(_request: Request, _events: Sequence[Event]) -> Response:
        return response

    return decode


GOOD = Response(
    chunks=(
        Chunk(at_ns=20, n_tokens=1, token_ids=(5,), text="a"),
        Chunk(at_ns=30, n_tokens=3, token_ids=(6, 7, 8), text="bcd"),
    ),
    steps=(Step(ended_ns=29, emitted=3, drafted=3, accepted=2, observed=3, batch=1),),
    tier="A",
    n_prefill_tokens=1,
    n_output_tokens=4,
    finish_reason="length",
)


def test_a_request_worked_by_hand() -> None:
    trace = build([attempt("p#0")], PROMPTS, decoding(GOOD))
    (row,) = trace.requests.to_dicts()
    expected = {
        "request_id": "p#0",
        "category": "qa",
        "difficulty": "hard",
        "block": 1,
        "n_input_tokens": 3,
        "first_ns": 20,
        "last_ns": 30,
        "n_output_tokens": 4,
        "n_first_chunk_tokens": 1,
        "n_prefill_tokens": 1,
        "n_step_tokens": 3,
        "tier": "A",
        "failure_kind": None,
        "output_ids": [5, 6, 7, 8],
        "output_text": "abcd",
    }
    assert {name: row[name] for name in expected} == expected
    assert trace.chunks["n_tokens"].to_list() == [1, 3]
    assert trace.steps.select("request", "step", "emitted", "accepted").rows() == [(0, 0, 3, 2)]


def test_a_failed_request_is_a_row_without_chunks_and_steps() -> None:
    failed = Failed(at_ns=50, kind="timeout", detail="silence")
    attempts = [attempt("p#0", failed=failed), attempt("p#1")]
    trace = build(attempts, PROMPTS, decoding(GOOD))
    assert trace.requests["failure_kind"].to_list() == ["timeout", None]
    assert trace.requests["n_output_tokens"].to_list() == [None, 4]
    assert set(trace.chunks["request"]) == set(trace.steps["request"]) == {1}


def test_no_request_at_all_gives_empty_tables() -> None:
    trace = build([], PROMPTS, decoding(GOOD))
    assert len(trace.requests) == len(trace.chunks) == len(trace.steps) == 0


@pytest.mark.parametrize(
    ("n_output", "n_prefill", "emitted"), [(5, 1, 3), (4, 0, 3), (4, 1, 4), (3, 1, 3)]
)
def test_a_request_whose_tokens_do_not_add_up_has_failed_and_counts_nowhere(
    n_output: int, n_prefill: int, emitted: int
) -> None:
    response = Response(
        chunks=GOOD.chunks,
        steps=(Step(ended_ns=29, emitted=emitted),),
        tier="A",
        n_prefill_tokens=n_prefill,
        n_output_tokens=n_output,
    )
    trace = build([attempt("p#0")], PROMPTS, decoding(response))
    (row,) = trace.requests.to_dicts()
    assert row["failure_kind"] == "lost_tokens"
    assert str(n_output) in row["failure_detail"]
    assert row["n_output_tokens"] is None
    assert len(trace.chunks) == len(trace.steps) == 0


def test_an_answer_of_no_token_is_a_request_without_a_first_stamp() -> None:
    empty = Response(chunks=(), n_output_tokens=0, finish_reason="stop")
    (row,) = build([attempt("p#0")], PROMPTS, decoding(empty)).requests.to_dicts()
    assert row["first_ns"] is row["last_ns"] is row["n_first_chunk_tokens"] is None
    assert row["output_ids"] == []


def test_a_prompt_of_another_run_is_refused() -> None:
    with pytest.raises(TraceError, match="other"):
        build([attempt("p#0", prompt="other")], PROMPTS, decoding(GOOD))
