"""The embedded engine's recorded bytes give exactly the steps that were run."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests import server
from tests.conftest import reads

from speedbench.engines import StreamError, engine
from speedbench.records import Request, Response

EMBEDDED = engine("embedded")
Golden = Callable[[str], bytes]
Requests = Callable[..., Request]


@pytest.fixture
def decoded(golden: Golden, request_of: Requests) -> Callable[[str], Response]:
    return lambda name: EMBEDDED.decode(request_of(1, 2), reads(golden(name)))


def test_the_call_carries_token_ids(request_of: Requests) -> None:
    call = EMBEDDED.build_request(request_of(4, 5, 6), model="m")
    assert call.path == "/v1/completions"
    assert json.loads(call.body)["prompt"] == [4, 5, 6]


def test_without_speculation_every_step_emits_one_token_and_drafts_none(
    decoded: Callable[[str], Response],
) -> None:
    response = decoded("embedded-none.sse")
    assert [chunk.token_ids for chunk in response.chunks] == [
        (400,), (513,), (203,), (3,), (203,), (3,),
    ]  # fmt: skip
    assert [(s.emitted, s.drafted, s.accepted, s.observed) for s in response.steps] == [
        (1, 0, 0, 0)
    ] * 5
    assert (response.n_prefill_tokens, response.n_output_tokens) == (1, 6)


def test_a_draft_models_steps_tell_drafted_and_accepted(
    decoded: Callable[[str], Response],
) -> None:
    response = decoded("embedded-draft_model-k3.sse")
    assert [(s.emitted, s.drafted, s.accepted, s.observed) for s in response.steps] == [
        (1, 3, 0, 3),
        *[(2, 3, 1, 3)] * 6,
        (2, 1, 1, 1),  # 14 tokens are out: with the verifier's own there is room for one draft
    ]
    assert not any(step.truncated for step in response.steps)
    assert [chunk.token_ids for chunk in response.chunks][:3] == [(400,), (513,), (203, 3)]
    assert response.tier == "A"
    assert response.finish_reason == "length"


def test_prompt_lookup_tells_what_was_emitted_and_not_what_was_drafted(
    decoded: Callable[[str], Response],
) -> None:
    response = decoded("embedded-ngram-k3.sse")
    assert [step.emitted for step in response.steps] == [1, 1, 1, 2, 2, 3, 1, 4, 4, 4]
    assert {(s.drafted, s.accepted, s.observed) for s in response.steps} == {(None, None, None)}


def test_a_step_cut_by_the_end_is_observed_up_to_the_token_before_it(
    decoded: Callable[[str], Response],
) -> None:
    response = decoded("embedded-ends-within-step.sse")
    last = response.steps[-1]
    assert (last.emitted, last.drafted, last.accepted, last.observed) == (2, 3, 1, 1)
    assert last.truncated
    assert not response.steps[0].truncated
    assert response.finish_reason == "stop"


def test_a_request_whose_first_token_is_the_end_has_no_step(
    decoded: Callable[[str], Response],
) -> None:
    response = decoded("embedded-first-token-ends.sse")
    assert [chunk.token_ids for chunk in response.chunks] == [(400,)]
    assert response.steps == ()
    assert (response.n_prefill_tokens, response.n_output_tokens) == (1, 1)


def test_step_times_are_the_engines_own_and_prefills_are_marked(
    decoded: Callable[[str], Response],
) -> None:
    response = decoded("embedded-draft_model-k3.sse")
    assert response.steps[0].seconds == 0.027812084
    assert response.steps[0].ended_ns == 3537158172804
    assert [step.mixed for step in response.steps] == [False] * 8
    assert {step.batch for step in response.steps} == {1}


@pytest.mark.parametrize(
    "name", ["embedded-none.sse", "embedded-ngram-k3.sse", "embedded-draft_model-k3.sse"]
)
def test_prefill_and_steps_add_up_to_the_engines_own_count(
    name: str, decoded: Callable[[str], Response]
) -> None:
    response = decoded(name)
    in_steps = sum(step.emitted for step in response.steps)
    assert in_steps + (response.n_prefill_tokens or 0) == response.n_output_tokens


def test_a_recording_cut_anywhere_before_its_end_is_a_failure(
    golden: Golden, request_of: Requests
) -> None:
    whole = golden("embedded-first-token-ends.sse")
    for end in range(len(whole) - 1):
        with pytest.raises(StreamError) as caught:
            EMBEDDED.decode(request_of(1), reads(whole[:end]))
        assert caught.value.kind in ("empty_answer", "cut_stream", "engine_stopped")
        assert (caught.value.kind == "empty_answer") == (not whole[:end].strip())


def test_a_request_that_the_engine_gave_up_is_a_failure(request_of: Requests) -> None:
    choice = {"index": 0, "text": "", "token_ids": [], "finish_reason": "out_of_memory"}
    stream = server.event({"choices": [choice]}) + server.DONE
    with pytest.raises(StreamError, match="out_of_memory") as caught:
        EMBEDDED.decode(request_of(1), reads(stream))
    assert caught.value.kind == "engine_stopped"
