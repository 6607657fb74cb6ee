"""The SGLang adapter on the documented shapes of its streams (tests/golden/README.md).

The answer is the same throughout: eleven tokens, of which the prefill gave one and four steps that
drafted three the rest; the last step accepted three, and the second token of its four was the end.
"""

from __future__ import annotations

import json
from typing import Any

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
from speedbench.engines.sglang import SGLangEngine
from speedbench.records import ChunkCheck, Counts, Response

SGLANG = SGLangEngine()
ANSWER = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 2]
TEXT = "The sum of two numbers is found by adding them"
STEPS = [(3, 3, 2), (1, 3, 0), (4, 3, 3), (2, 3, 2)]
TOLD = Counts(drafts=4, drafted=12, accepted=8, accepted_at=(3, 3, 2), steps=4)


def decoded(name: str, *, ids: tuple[int, ...] | None = IDS) -> Response:
    return SGLANG.decode(asked(ids), golden(f"sglang-{name}"))


def body(**sampling: Any) -> dict[str, Any]:
    return json.loads(SGLANG.build_request(asked(**sampling), model="m").body)


# --- what goes out -------------------------------------------------------------------------------


def test_ids_go_to_generate() -> None:
    assert SGLANG.build_request(asked(), model="m").path == "/generate"
    assert body() == {
        "input_ids": list(IDS),
        "sampling_params": {"max_new_tokens": 48, "temperature": 0.0, "frequency_penalty": 0.0},
        "stream": True,
    }


def test_a_seed_is_sent_where_there_is_something_to_sample() -> None:
    assert body(temperature=0.7)["sampling_params"]["sampling_seed"] == 5


def test_messages_go_to_the_openai_route_and_ask_for_counts() -> None:
    call = SGLANG.build_request(asked(None), model="m")
    sent = json.loads(call.body)
    assert call.path == "/v1/chat/completions"
    assert sent["messages"][1] == {"role": "user", "content": "Hi"}
    assert sent["return_spec_tokens_details"] is True
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


# --- /generate -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "0.5.23-cumulative",
        "0.5.23-incremental",
        "0.5.23-tree",
        "0.5.11-old-names",
        "0.5.6-old-names",
    ],
)
def test_every_kind_of_server_gives_the_same_tokens(name: str) -> None:
    response = decoded(name)
    assert ids_of(response) == ANSWER
    assert text_of(response) == TEXT
    assert [chunk.n_tokens for chunk in response.chunks] == [1, 3, 1, 4, 2]
    assert [chunk.at_ns for chunk in response.chunks] == [0, 1, 2, 3, 4]
    assert (response.n_input_tokens, response.n_output_tokens) == (6, 11)
    assert (response.n_cached_tokens, response.finish_reason) == (0, "stop")
    assert_conserved(response)


@pytest.mark.parametrize("name", ["0.5.23-cumulative", "0.5.23-incremental", "0.5.11-old-names"])
def test_chunks_that_match_the_histogram_are_the_steps(name: str) -> None:
    response = decoded(name)
    assert response.tier == "C"
    assert counts_of(response.steps) == STEPS
    assert [step.ended_ns for step in response.steps] == [1, 2, 3, 4]
    assert [step.truncated for step in response.steps] == [False, False, False, True]
    assert response.steps[-1].observed == 2
    assert response.counts == TOLD
    assert response.chunk_check == ChunkCheck(chunks=4, steps=4, cut=1)


@pytest.mark.parametrize("name", ["0.5.23-merged", "0.5.23-incremental-merged"])
def test_a_client_behind_gets_chunks_that_are_no_steps(name: str) -> None:
    response = decoded(name)
    assert ids_of(response) == ANSWER
    assert [chunk.n_tokens for chunk in response.chunks] == [1, 4, 4, 2]  # all plausible
    assert response.tier == "B"
    assert sorted(counts_of(response.steps)) == sorted(STEPS)
    assert all(step.ended_ns is None for step in response.steps)
    assert response.chunk_check == ChunkCheck(chunks=3, steps=4, cut=1, merged=1)
    assert_conserved(response)


def test_text_held_back_for_a_stop_string_merges_steps() -> None:
    response = decoded("0.5.23-hold-back")
    assert text_of(response) == TEXT
    assert response.tier == "B"
    assert response.chunk_check == ChunkCheck(chunks=3, steps=4, cut=1, merged=1)


def test_the_token_limit_cuts_the_last_step() -> None:
    response = decoded("0.5.23-limit")
    assert response.finish_reason == "length"
    assert counts_of(response.steps) == [*STEPS[:3], (1, 3, 1)]
    assert response.tier == "C"


@pytest.mark.parametrize("name", ["0.5.23-no-histogram", "0.5.6-old-names"])
def test_without_a_histogram_the_number_of_steps_is_evidence_enough(name: str) -> None:
    response = decoded(name)
    assert response.tier == "C"
    # the last step is ambiguous, and censored at its last token
    assert counts_of(response.steps) == [*STEPS[:3], (2, 3, 1)]
    assert response.counts == Counts(drafts=4, drafted=12, accepted=8, steps=4)


def test_an_answer_that_ended_with_its_first_token_has_no_step() -> None:
    response = decoded("0.5.23-first-token-ends")
    assert (response.tier, response.steps, response.n_prefill_tokens) == ("C", (), 1)
    assert response.chunk_check == ChunkCheck(chunks=0, steps=0)


def test_a_server_without_speculation_tells_nothing_about_it() -> None:
    response = decoded("0.5.23-none")
    assert (response.tier, response.steps, response.counts) == ("none", (), None)
    assert response.n_output_tokens == 4


def test_drafts_that_branch_count_as_many_as_they_have_nodes() -> None:
    assert [step.drafted for step in decoded("0.5.23-tree").steps] == [7, 7, 7, 7]


# --- the OpenAI route ----------------------------------------------------------------------------


def test_running_usage_counts_the_tokens_of_chat_chunks() -> None:
    response = decoded("0.5.23-chat", ids=None)
    assert text_of(response) == TEXT.removesuffix(" them")
    assert [chunk.n_tokens for chunk in response.chunks] == [1, 3, 1, 4, 1]
    assert response.tier == "C"
    assert counts_of(response.steps) == [*STEPS[:3], (1, 3, 0)]  # the end alone: it has no text
    assert (response.n_input_tokens, response.n_output_tokens) == (6, 10)
    assert_conserved(response)


def test_chat_without_running_usage_is_text() -> None:
    usage = {"prompt_tokens": 6, "completion_tokens": 9}
    response = SGLANG.decode(
        asked(None),
        stream(
            {"choices": [{"delta": {"content": "a"}}]},
            {"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        ),
    )
    assert [chunk.n_tokens for chunk in response.chunks] == [None, None]
    assert (response.tier, response.n_output_tokens) == ("none", 9)


# --- what is no answer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("0.5.23-error", "engine_error", "context length"),
        ("0.5.23-abort", "engine_stopped", "Out of memory in the KV cache"),
        ("0.5.23-truncated", "cut_stream", "without its end"),
    ],
)
def test_what_is_no_answer_is_a_failure(name: str, kind: str, word: str) -> None:
    with pytest.raises(StreamError, match=word) as caught:
        decoded(name)
    assert caught.value.kind == kind


def message(ids: list[int], n: int, **meta: Any) -> dict[str, Any]:
    return {"output_ids": ids, "text": "", "meta_info": {"completion_tokens": n, **meta}}


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ([message([1], 1), message([2, 3], 2)], "lost_tokens"),  # cumulative, and changed its past
        ([message([1], 1), message([3], 4)], "lost_tokens"),  # incremental, with a hole
        ([message([1, 2], 2), message([1], 1)], "bad_counts"),
        (
            [message([1], 1), message([2, 3], 3, spec_verify_ct=1, spec_accept_histogram=[1, 1])],
            "bad_counts",
        ),
        (
            [
                message([1], 1),
                message(
                    [2, 3],
                    3,
                    spec_verify_ct=1,
                    spec_num_proposed_drafts=1,
                    spec_correct_drafts_histogram=[0, 0, 1],
                ),
            ],
            "bad_counts",
        ),
    ],
)
def test_accounts_that_contradict_each_other_are_failures(
    messages: list[dict[str, Any]], kind: str
) -> None:
    with pytest.raises(StreamError) as caught:
        SGLANG.decode(asked(), stream(*messages))
    assert caught.value.kind == kind


def test_more_chunks_than_counted_steps_are_unexplained() -> None:
    told = {"spec_verify_ct": 1, "spec_correct_drafts_histogram": [1]}
    messages = [message([1], 1), message([2], 2), message([3], 3, **told)]
    response = SGLANG.decode(asked(), stream(*messages))
    assert response.chunk_check is not None
    assert response.chunk_check.residual == 1
    assert response.tier == "B"


# --- what the server says of itself --------------------------------------------------------------

INFO = {
    "version": "0.5.23",
    "model_path": "org/model",
    "context_length": 8192,
    "speculative_algorithm": "EAGLE3",
    "speculative_num_steps": 3,
    "speculative_eagle_topk": 1,
    "speculative_num_draft_tokens": 4,
    "speculative_draft_model_path": "org/drafter",
    "disable_radix_cache": True,
    "internal_states": [{}],
}


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
def test_the_arguments_of_the_server_are_read_under_both_paths(path: str) -> None:
    about = SGLANG.about({path: json.dumps(INFO).encode()})
    assert (about.engine, about.version, about.model_path) == ("sglang", "0.5.23", "org/model")
    assert (about.speculates, about.method, about.draft_length) == (True, "EAGLE3", 3)
    assert (about.drafter, about.max_context, about.tree) == ("org/drafter", 8192, False)
    assert about.flags["disable_radix_cache"] is True


@pytest.mark.parametrize(
    ("changed", "tree", "length"),
    [
        ({"speculative_eagle_topk": 4, "speculative_num_draft_tokens": 8}, True, 3),
        ({"speculative_num_steps": 1, "speculative_num_draft_tokens": 16}, False, 15),  # DFLASH
    ],
)
def test_drafts_that_branch_are_told_from_chains(
    changed: dict[str, Any], tree: bool, length: int
) -> None:
    about = SGLANG.about({"/server_info": json.dumps({**INFO, **changed}).encode()})
    assert (about.tree, about.draft_length) == (tree, length)


def test_a_server_without_speculation_says_so_and_a_silent_one_nothing() -> None:
    plain = json.dumps({**INFO, "speculative_algorithm": None}).encode()
    assert SGLANG.about({"/server_info": plain}).speculates is False
    assert SGLANG.about({}).speculates is None


def test_a_text_is_tokenized_without_special_tokens() -> None:
    call = SGLANG.tokenize_request("a b", model="m")
    assert (call.path, json.loads(call.body)["add_special_tokens"]) == ("/tokenize", False)
    assert SGLANG.token_ids(b'{"tokens": [3, 4], "count": 2, "max_model_len": 8}') == (3, 4)
    with pytest.raises(StreamError):
        SGLANG.token_ids(b'{"tokens": "3"}')
