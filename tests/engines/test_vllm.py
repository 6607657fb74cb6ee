"""The vLLM adapter on streams of a real server, and by hand where those have nothing to show.

Hand-written messages follow vLLM 0.32 (entrypoints/generate/base/protocol.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.engines.recorded import (
    IDS,
    asked,
    assert_conserved,
    by_message,
    counts_of,
    folders,
    ids_of,
    recordings,
    request_of,
    stream,
    text_of,
)

from speedbench.engines import StreamError
from speedbench.engines.vllm import VLLMEngine
from speedbench.records import ChunkCheck, Counts, Response

VLLM = VLLMEngine()
SPECULATING = [path for path in recordings("vllm") if not path.stem.startswith("none")]


def decoded_file(recording: Path) -> Response:
    return VLLM.decode(request_of(recording), by_message(recording.read_bytes()))


# --- what goes out -------------------------------------------------------------------------------


def test_ids_go_to_completions_and_ids_are_wanted_back() -> None:
    call = VLLM.build_request(asked(), model="m")
    assert call.path == "/v1/completions"
    assert json.loads(call.body) == {
        "model": "m",
        "prompt": list(IDS),
        "max_tokens": 48,
        "temperature": 0.0,
        "frequency_penalty": 0.0,
        "seed": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }


def test_messages_go_to_chat() -> None:
    call = VLLM.build_request(asked(None), model="m")
    sent = json.loads(call.body)
    assert call.path == "/v1/chat/completions"
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sent["return_token_ids"] is True


# --- a real server -------------------------------------------------------------------------------


def test_there_are_recordings_of_several_methods() -> None:
    methods = {path.stem.rpartition("-")[0] for path in recordings("vllm")}
    assert methods >= {"none", "ngram", "draft_model"}


@pytest.mark.parametrize("recording", recordings("vllm"), ids=lambda path: path.stem)
def test_every_recorded_token_arrives_with_its_id(recording: Path) -> None:
    response = decoded_file(recording)
    assert len(ids_of(response)) == response.n_output_tokens
    assert response.n_input_tokens == len(request_of(recording).input_ids or ())
    assert response.finish_reason == {"1": "length", "2": "stop"}[recording.stem[-1]]


@pytest.mark.parametrize("recording", SPECULATING, ids=lambda path: path.stem)
def test_every_recorded_token_has_its_step(recording: Path) -> None:
    response = decoded_file(recording)
    assert response.tier == "A"
    assert_conserved(response)
    assert response.chunk_check is not None
    assert response.chunk_check.passed
    assert all(step.ended_ns is not None for step in response.steps)


@pytest.mark.parametrize("folder", folders("vllm"), ids=lambda path: path.name)
@pytest.mark.parametrize("method", ["ngram", "draft_model"])
def test_two_answers_add_up_to_what_the_server_counted(folder: Path, method: str) -> None:
    """The server had answered these two and nothing else when its counters were read."""
    server = VLLM.server_counts((folder / f"{method}.metrics.txt").read_text()).speculation
    told = [decoded_file(folder / f"{method}-{n}.sse").counts or Counts() for n in (1, 2)]
    assert sum(counts.drafts or 0 for counts in told) == server.drafts
    assert sum(counts.drafted or 0 for counts in told) == server.drafted
    assert sum(counts.accepted or 0 for counts in told) == server.accepted
    by_position = zip(*(counts.accepted_at or () for counts in told), strict=True)
    assert tuple(map(sum, by_position)) == server.accepted_at


@pytest.mark.parametrize("folder", folders("vllm"), ids=lambda path: path.name)
def test_a_recorded_answer_as_counted_by_hand(folder: Path) -> None:
    """`per_step_accepted` as it stands in the file; the limit took the last of five tokens."""
    response = decoded_file(folder / "draft_model-1.sse")
    accepted = [3, 4, 4, 1, 0, 0, 4, 4, 1, 1, 3, 1, 4]
    assert counts_of(response.steps) == [*((a + 1, 4, a) for a in accepted), (4, 4, 4)]
    assert (response.steps[-1].truncated, response.steps[-1].observed) == (True, 4)
    assert response.counts == Counts(drafts=14, drafted=56, accepted=34, accepted_at=(12, 8, 8, 6))
    assert response.chunk_check == ChunkCheck(chunks=14, steps=14, cut=1)


@pytest.mark.parametrize("folder", folders("vllm"), ids=lambda path: path.name)
def test_steps_without_a_draft_are_told_from_the_others(folder: Path) -> None:
    """Seven steps drafted four tokens, and 22 chunks followed the prefill's."""
    check = decoded_file(folder / "ngram-2.sse").chunk_check
    assert check == ChunkCheck(chunks=22, steps=7, undrafted=15)


@pytest.mark.parametrize("folder", folders("vllm"), ids=lambda path: path.name)
def test_a_server_without_speculation_tells_nothing_about_it(folder: Path) -> None:
    response = decoded_file(folder / "none-1.sse")
    assert (response.tier, response.steps, response.counts) == ("none", (), None)
    server = VLLM.server_counts((folder / "none.metrics.txt").read_text())
    assert server.speculation == Counts()
    assert server.cached_tokens == 0


@pytest.mark.parametrize("folder", folders("vllm"), ids=lambda path: path.name)
def test_the_server_says_what_it_runs_and_tokenizes(folder: Path) -> None:
    about = VLLM.about(
        {
            "/version": (folder / "ngram.version.json").read_bytes(),
            "/v1/models": (folder / "ngram.models.json").read_bytes(),
        }
    )
    assert about.version is not None
    assert folder.name == f"vllm-{about.version.partition('+')[0]}"
    assert about.max_context == 1024
    assert about.model_path
    asked_then = json.loads((folder / "tokenize.request.json").read_bytes())
    call = VLLM.tokenize_request(asked_then["prompt"], model=asked_then["model"])
    assert (call.path, json.loads(call.body)) == ("/tokenize", asked_then)
    assert len(VLLM.token_ids((folder / "tokenize.json").read_bytes())) == 19


# --- by hand: what the recordings do not show ----------------------------------------------------


def chunk(*ids: int, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": "x" * len(ids), "token_ids": list(ids), "finish_reason": finish}
    return {"choices": [{**choice, **more}]}


def last(
    n_tokens: int, histogram: list[int], *, k: int = 3, drafted: int | None = None, **lists: Any
) -> dict[str, Any]:
    """The usage message; every step in the histogram drafted `k`, unless `drafted` is given."""
    told = {
        "acceptance_histogram": histogram,
        "num_draft_tokens": k * sum(histogram) if drafted is None else drafted,
        "num_spec_tokens": k,
        **lists,
    }
    usage = {"prompt_tokens": 6, "completion_tokens": n_tokens}
    return {"choices": [], "usage": usage, "metrics": {"speculative_decoding": told}}


def decoded(*messages: Any, ids: tuple[int, ...] | None = IDS) -> Response:
    return VLLM.decode(asked(ids), stream(*messages))


STEPS = [chunk(1), chunk(2, 3, 4), chunk(5), chunk(6, 7, finish="length")]
"""The prefill, two accepted of three, none, and three of which the limit left two."""
LISTS = {"per_step_accepted": [2, 0, 3], "per_step_drafted": [3, 3, 3]}


def test_a_summary_is_a_histogram_held_against_the_chunks() -> None:
    response = decoded(*STEPS, last(7, [1, 0, 1, 1]))
    assert response.tier == "C"
    assert counts_of(response.steps) == [(3, 3, 2), (1, 3, 0), (2, 3, 2)]
    assert response.chunk_check == ChunkCheck(chunks=3, steps=3, cut=1)


def test_a_summary_of_drafts_of_varying_length_leaves_acceptance_unknown() -> None:
    response = decoded(*STEPS, last(7, [1, 0, 1, 1], drafted=8))
    assert counts_of(response.steps) == [(3, None, None), (1, None, None), (2, None, None)]
    assert response.tier == "C"


INTERVAL = [chunk(1), chunk(2, 3, 4, 5), chunk(6, 7, finish="length")]
"""The same with `--stream-interval 4`: sizes that a draft of three could give."""


def test_merged_chunks_are_noticed_and_the_lists_still_hold() -> None:
    response = decoded(*INTERVAL, last(7, [1, 0, 1, 1], **LISTS))
    assert response.tier == "A"
    assert counts_of(response.steps) == [(3, 3, 2), (1, 3, 0), (2, 3, 2)]
    assert all(step.ended_ns is None for step in response.steps)
    assert response.chunk_check == ChunkCheck(chunks=2, steps=3, cut=1, merged=1)
    assert not response.chunk_check.passed


def test_merged_chunks_beside_a_summary_leave_no_order() -> None:
    response = decoded(*INTERVAL, last(7, [1, 0, 1, 1]))
    assert response.tier == "B"
    assert response.chunk_check == ChunkCheck(chunks=2, steps=3, cut=1, merged=1)
    assert_conserved(response)


def test_a_server_that_found_nothing_to_draft_is_known_to_have_drafted_nothing() -> None:
    response = decoded(chunk(1), chunk(2), chunk(3, finish="stop"), last(3, [0, 0, 0, 0]))
    assert response.tier == "A"
    assert counts_of(response.steps) == [(1, 0, 0), (1, 0, 0)]


def test_chat_carries_ids_thoughts_and_counts() -> None:
    def delta(*ids: int, **parts: str) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": parts, "token_ids": list(ids)}]}

    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    said = [delta(1, reasoning="a"), delta(2, 3, 4, content="b"), delta(5, content="c")]
    told = last(5, [1, 0, 1], per_step_accepted=[2, 0], per_step_drafted=[3, 3])
    response = decoded({**role, "prompt_token_ids": [1, 2]}, *said, told, ids=None)
    assert text_of(response) == "abc"
    assert response.tier == "A"
    assert counts_of(response.steps) == [(3, 3, 2), (1, 3, 0)]


def test_an_answer_to_other_ids_is_refused() -> None:
    other = chunk(1, finish="stop", prompt_token_ids=[0, *IDS])
    with pytest.raises(StreamError, match="7 token ids, and 6 others were sent") as caught:
        decoded(other, last(1, [0]))
    assert caught.value.kind == "other_input"
    same = chunk(1, finish="stop", prompt_token_ids=list(IDS))
    assert decoded(same, last(1, [0])).n_output_tokens == 1


def test_without_the_servers_flag_there_is_no_evidence() -> None:
    usage = {"prompt_tokens": 6, "completion_tokens": 7, "prompt_tokens_details": None}
    response = decoded(*STEPS, {"choices": [], "usage": usage})
    assert (response.tier, response.steps, response.chunk_check) == ("none", (), None)
    assert ids_of(response) == [1, 2, 3, 4, 5, 6, 7]


def test_cached_input_is_told() -> None:
    usage = {"prompt_tokens": 6, "completion_tokens": 7, "prompt_tokens_details": {}}
    usage["prompt_tokens_details"] = {"cached_tokens": 4}
    assert decoded(*STEPS, {"choices": [], "usage": usage}).n_cached_tokens == 4


def test_lists_that_cannot_be_are_a_failure() -> None:
    wrong = {"per_step_accepted": [2, 4, 3], "per_step_drafted": [3, 3, 3]}
    with pytest.raises(StreamError, match="accepted 4 of 3 drafted"):
        decoded(*STEPS, last(7, [1, 0, 1, 1], **wrong))
    short = {"per_step_accepted": [2, 0], "per_step_drafted": [3, 3, 3]}
    with pytest.raises(StreamError, match="3 steps drafted, 2 accepted"):
        decoded(*STEPS, last(7, [1, 0, 1, 1], **short))


def test_an_error_inside_the_stream_is_the_engines() -> None:
    with pytest.raises(StreamError, match="EngineCore encountered an issue") as caught:
        decoded(chunk(1), {"error": {"message": "EngineCore encountered an issue", "code": 500}})
    assert caught.value.kind == "engine_error"


PAGE = """\
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 30.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="m"} 12.0
# TYPE vllm:spec_decode_num_draft_tokens_total counter
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 60.0
vllm:spec_decode_num_draft_tokens_total{engine="1",model_name="m"} 24.0
# TYPE vllm:spec_decode_num_accepted_tokens_total counter
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 33.0
vllm:spec_decode_num_accepted_tokens_total{engine="1",model_name="m"} 9.0
# TYPE vllm:spec_decode_num_accepted_tokens_per_pos_total counter
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="0"} 21.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="1"} 12.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",model_name="m",position="0"} 8.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",model_name="m",position="1"} 1.0
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 5.0
vllm:prefix_cache_hits_total{engine="1",model_name="m"} 0.0
"""


def test_counters_are_summed_over_the_engines_of_a_data_parallel_group() -> None:
    server = VLLM.server_counts(PAGE)
    assert server.speculation == Counts(drafts=42, drafted=84, accepted=42, accepted_at=(29, 13))
    assert server.cached_tokens == 5


def test_a_page_that_does_not_parse_is_a_failure() -> None:
    with pytest.raises(StreamError, match="do not parse") as caught:
        VLLM.server_counts('vllm:spec_decode_num_drafts_total{engine="0" 30.0\n{')
    assert caught.value.kind == "bad_counters"
