"""The TensorRT-LLM adapter on the documented shapes of its streams (tests/golden/README.md).

The answer is the same throughout: eleven tokens, one from the prefill and the rest from four steps.
"""

from __future__ import annotations

import json

import pytest
from tests.engines.recorded import (
    IDS,
    asked,
    assert_conserved,
    counts_of,
    golden,
    ids_of,
    stream,
    text_of,
)

from speedbench.engines import StreamError
from speedbench.engines.tensorrt_llm import TensorRTLLMEngine
from speedbench.records import ChunkCheck, Counts, Response, ServerCounts

TRT = TensorRTLLMEngine()
ANSWER = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 2]
EMITTED = [3, 1, 4, 2]


def decoded(name: str, *, ids: tuple[int, ...] | None = IDS) -> Response:
    return TRT.decode(asked(ids), golden(f"tensorrt_llm-{name}"))


# --- what goes out -------------------------------------------------------------------------------


def test_ids_go_to_completions_and_ids_are_wanted_back() -> None:
    call = TRT.build_request(asked(), model="m")
    assert call.path == "/v1/completions"
    assert json.loads(call.body) == {
        "model": "m",
        "prompt": list(IDS),
        "max_tokens": 48,
        "temperature": 0.0,
        "frequency_penalty": 0.0,
        "seed": 5,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "detokenize": False,
    }


def test_messages_go_to_chat() -> None:
    call = TRT.build_request(asked(None), model="m")
    assert call.path == "/v1/chat/completions"
    assert json.loads(call.body)["messages"][0] == {"role": "system", "content": "Be brief."}


# --- steps from the average ----------------------------------------------------------------------


def test_the_average_tells_how_many_steps_there_were() -> None:
    response = decoded("1.2-completions")
    assert ids_of(response) == ANSWER
    assert response.tier == "C"
    # five iterations gave eleven tokens, and the first was the prefill; drafts are not told
    assert counts_of(response.steps) == [(n, None, None) for n in EMITTED]
    assert [step.ended_ns for step in response.steps] == [1, 2, 3, 4]
    assert response.counts == Counts(steps=4)
    assert response.chunk_check == ChunkCheck(chunks=4, steps=4)
    assert (response.n_input_tokens, response.n_output_tokens) == (6, 11)
    assert (response.n_cached_tokens, response.finish_reason) == (0, "stop")
    assert_conserved(response)


def test_the_chat_route_counts_by_running_usage() -> None:
    response = decoded("1.2-chat", ids=None)
    assert text_of(response) == "The sum of two numbers is found by adding them"
    assert [step.emitted for step in response.steps] == EMITTED
    assert_conserved(response)


def test_a_stream_interval_is_noticed_and_only_the_number_of_steps_is_left() -> None:
    response = decoded("1.2-merged")
    assert [chunk.n_tokens for chunk in response.chunks] == [1, 4, 6]
    assert (response.tier, response.steps) == ("B", ())
    assert response.counts == Counts(steps=4)
    assert response.chunk_check == ChunkCheck(chunks=2, steps=4, merged=2)


def test_without_speculation_every_step_gives_one_token() -> None:
    response = decoded("1.2-none")
    assert [step.emitted for step in response.steps] == [1, 1, 1]
    assert response.tier == "C"


def test_an_answer_that_ended_with_its_first_token_has_no_step() -> None:
    response = decoded("1.2-first-token-ends")
    assert (response.tier, response.steps, response.n_prefill_tokens) == ("C", (), 1)


def completion(n_new: int, n: int, average: float | None, **more: object) -> dict[str, object]:
    choice = {"token_ids": [1] * n_new, "text": "", "avg_decoded_tokens_per_iter": average, **more}
    return {"choices": [choice], "usage": {"prompt_tokens": 6, "completion_tokens": n}}


def test_an_ending_that_is_counted_and_not_given_makes_no_step() -> None:
    """Seven tokens in three iterations by the engine's count, six of them given."""
    messages = [completion(1, 1, 1.0), completion(3, 4, 2.0), completion(2, 6, 7 / 3)]
    assert TRT.decode(asked(), stream(*messages)).counts == Counts(steps=2)


def test_an_average_of_no_whole_number_of_steps_is_a_failure() -> None:
    for average in (2.9, 1e-320):
        with pytest.raises(StreamError, match="no whole number of steps") as caught:
            TRT.decode(asked(), stream(completion(1, 1, 1.0), completion(5, 6, average)))
        assert caught.value.kind == "bad_counts"


def test_long_answers_do_not_lose_a_step_to_32_bits() -> None:
    """33,333 iterations, the average as the nearest float of 32 bits."""
    messages = [completion(1, 1, 1.0), completion(99_999, 100_000, 3.0000300407409668)]
    request = asked(max_tokens=100_000)
    assert TRT.decode(request, stream(*messages)).counts == Counts(steps=33_332)


def test_a_server_that_tells_no_average_gives_no_evidence() -> None:
    response = TRT.decode(asked(), stream(completion(1, 1, None), completion(3, 4, None)))
    assert (response.tier, response.steps, response.counts) == ("none", (), None)
    assert response.n_output_tokens == 4


def test_text_without_running_usage_is_text() -> None:
    chat = [{"choices": [{"delta": {"content": text}}]} for text in "ab"]
    total = {"choices": [], "usage": {"prompt_tokens": 6, "completion_tokens": 2}}
    response = TRT.decode(asked(None), stream(*chat, total))
    assert [chunk.n_tokens for chunk in response.chunks] == [None, None]
    assert (response.tier, response.n_output_tokens) == ("none", 2)


# --- the histogram of later servers --------------------------------------------------------------


def test_a_histogram_of_the_steps_with_a_draft() -> None:
    response = decoded("main-histogram")
    assert response.tier == "C"
    assert counts_of(response.steps) == [(3, 3, 2), (1, 0, 0), (4, 3, 3), (2, 3, 2)]
    assert response.counts == Counts(
        drafts=3, drafted=9, accepted=8, accepted_at=(3, 3, 2), steps=4
    )
    assert response.chunk_check == ChunkCheck(chunks=4, steps=3, undrafted=1, cut=1)


@pytest.mark.parametrize(("length", "total"), [(None, 9), (3, 8)])
def test_drafts_of_varying_length_leave_acceptance_unknown(length: int | None, total: int) -> None:
    told = {
        "acceptance_histogram": [0, 0, 1],
        "total_draft_tokens": total,
        "total_accepted_draft_tokens": 2,
        "num_spec_tokens": length,
    }
    messages = [completion(1, 1, 1.0), completion(3, 4, 2.0, speculative_decoding=told)]
    response = TRT.decode(asked(), stream(*messages))
    assert counts_of(response.steps) == [(3, None, None)]
    assert response.tier == "C"


# --- what is no answer ---------------------------------------------------------------------------


def test_a_stream_without_its_end_is_a_failure() -> None:
    with pytest.raises(StreamError, match="without its end"):
        decoded("1.2-truncated")


def test_an_error_inside_the_stream_is_the_engines() -> None:
    messages = [completion(1, 1, 1.0), {"error": {"message": "CUDA out of memory"}}]
    with pytest.raises(StreamError, match="CUDA out of memory") as caught:
        TRT.decode(asked(), stream(*messages))
    assert caught.value.kind == "engine_error"


def test_tokens_that_are_taken_back_are_a_failure() -> None:
    chat = [
        {"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": n}}
        for n in (3, 2)
    ]
    with pytest.raises(StreamError, match="3 tokens came, and 2 are counted"):
        TRT.decode(asked(None), stream(*chat))


# --- what the server counts ----------------------------------------------------------------------

PAGE = """\
# TYPE trtllm_spec_decode_drafted_tokens_total counter
trtllm_spec_decode_drafted_tokens_total{model_name="m",token_position="0"} 20
trtllm_spec_decode_drafted_tokens_total{model_name="m",token_position="1"} 20
trtllm_spec_decode_drafted_tokens_total{model_name="m",token_position="2"} 10
# TYPE trtllm_spec_decode_accepted_tokens_total counter
trtllm_spec_decode_accepted_tokens_total{model_name="m",token_position="0"} 12
trtllm_spec_decode_accepted_tokens_total{model_name="m",token_position="1"} 5
trtllm_prompt_cached_tokens_total{model_name="m"} 7
"""
OLD_PAGE = """\
trtllm_spec_decode_num_draft_tokens_total{model_name="m"} 50
trtllm_spec_decode_num_accepted_tokens_total{model_name="m"} 17
"""


def test_the_servers_counters_are_by_position() -> None:
    assert TRT.server_counts(PAGE) == ServerCounts(
        speculation=Counts(drafts=20, drafted=50, accepted=17, accepted_at=(12, 5)),
        cached_tokens=7,
    )


def test_older_servers_count_tokens_and_no_drafts() -> None:
    speculation = TRT.server_counts(OLD_PAGE).speculation
    assert (speculation.drafts, speculation.drafted, speculation.accepted) == (None, 50, 17)
    assert TRT.server_counts("").speculation == Counts()


def test_the_version_is_all_that_it_says_of_itself() -> None:
    about = TRT.about({"/version": b'{"version": "1.2.0"}'})
    assert (about.engine, about.version, about.speculates) == ("tensorrt_llm", "1.2.0", None)
    assert TRT.about({}).version is None


def test_that_draft_lengths_are_unknown_is_said_beside_the_figures() -> None:
    assert "per_request_spec_decode_stats" in TRT.cautions({})[0]
