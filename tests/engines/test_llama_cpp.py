"""The llama.cpp adapter on streams of a real server, and by hand where those have nothing to show.

Hand-written events follow tools/server of llama.cpp 0c1e570, as the adapter's docstring says.
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
from speedbench.engines.llama_cpp import LlamaCppEngine
from speedbench.records import ChunkCheck, Counts, Response

LLAMA = LlamaCppEngine()


def decoded_file(recording: Path) -> Response:
    return LLAMA.decode(request_of(recording), by_message(recording.read_bytes()))


# --- what goes out -------------------------------------------------------------------------------


def test_ids_go_to_completion_and_every_token_is_counted() -> None:
    call = LLAMA.build_request(asked(frequency_penalty=0.2), model="m")
    assert call.path == "/completion"
    assert json.loads(call.body) == {
        "prompt": list(IDS),
        "n_predict": 48,
        "temperature": 0.0,
        "frequency_penalty": 0.2,
        "seed": 5,
        "stream": True,
        "return_tokens": True,
        "timings_per_token": True,
        "cache_prompt": False,
    }


def test_messages_go_to_chat_and_every_token_is_counted() -> None:
    call = LLAMA.build_request(asked(None), model="m")
    sent = json.loads(call.body)
    assert call.path == "/v1/chat/completions"
    assert (sent["timings_per_token"], sent["cache_prompt"]) == (True, False)
    assert sent["messages"][1] == {"role": "user", "content": "Hi"}


# --- a real server -------------------------------------------------------------------------------


def test_there_are_recordings_of_every_method() -> None:
    methods = {path.stem.rpartition("-")[0] for path in recordings("llama_cpp")}
    assert methods >= {"none", "ngram", "draft_model", "eagle3"}


@pytest.mark.parametrize("recording", recordings("llama_cpp"), ids=lambda path: path.stem)
def test_every_recorded_token_has_its_step(recording: Path) -> None:
    response = decoded_file(recording)
    told = json.loads(recording.with_suffix(".json").read_bytes())
    assert response.tier == "A"
    assert_conserved(response)
    assert len(ids_of(response)) == response.n_output_tokens
    assert response.n_input_tokens == len(told["prompt"])
    assert response.n_cached_tokens == 0
    assert response.finish_reason == {"1": "length", "2": "stop"}[recording.stem[-1]]
    assert response.chunk_check is not None
    assert response.chunk_check.passed
    assert all(step.ended_ns is not None for step in response.steps)


@pytest.mark.parametrize("folder", folders("llama_cpp"), ids=lambda path: path.name)
@pytest.mark.parametrize("method", ["none", "ngram", "draft_model", "eagle3"])
def test_two_answers_add_up_to_what_the_server_counted(folder: Path, method: str) -> None:
    """The server had answered these two and nothing else when its counters were read."""
    server = LLAMA.server_counts((folder / f"{method}.metrics.txt").read_text()).speculation
    answers = [decoded_file(folder / f"{method}-{n}.sse") for n in (1, 2)]
    steps = [step for answer in answers for step in answer.steps]
    assert sum(bool(step.drafted) for step in steps) == server.drafts
    assert sum(step.drafted or 0 for step in steps) == server.drafted
    assert sum(step.accepted or 0 for step in steps) == server.accepted
    for position, n in enumerate(server.accepted_at or (), start=1):
        assert sum((step.accepted or 0) >= position for step in steps) == n


@pytest.mark.parametrize("folder", folders("llama_cpp"), ids=lambda path: path.name)
def test_a_recorded_answer_as_counted_by_hand(folder: Path) -> None:
    """Read off the events: which share `predicted_ms`, and how far `draft_n_accepted` went."""
    response = decoded_file(folder / "draft_model-2.sse")
    accepted = [4, 0, 1, 0, 2, 0, 3, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 1]
    assert counts_of(response.steps) == [(a + 1, 4, a) for a in accepted]
    assert response.steps[0].ended_ns == 5  # of events 1 to 5; event 0 is the prefill's
    assert response.counts == Counts(drafts=18, drafted=72, accepted=21, steps=18)
    assert text_of(response).startswith("According to the text: The text is a program")


@pytest.mark.parametrize("folder", folders("llama_cpp"), ids=lambda path: path.name)
def test_near_the_limit_fewer_tokens_are_drafted(folder: Path) -> None:
    drafted = [step.drafted for step in decoded_file(folder / "draft_model-1.sse").steps]
    assert drafted == [4] * 13 + [3]


@pytest.mark.parametrize("folder", folders("llama_cpp"), ids=lambda path: path.name)
def test_the_server_says_what_it_runs(folder: Path) -> None:
    props = (folder / "ngram.props.json").read_bytes()
    about = LLAMA.about({"/props": props})
    assert about.version is not None
    assert about.version.endswith("0c1e570")
    assert about.max_context == 1024
    assert about.model_path is not None
    assert about.model_path.endswith(".gguf")
    assert about.speculates is None
    slots = b'[{"id": 0, "n_ctx": 1024, "speculative": true}, {"id": 1, "speculative": true}]'
    assert LLAMA.about({"/props": props, "/slots": slots}).speculates is True
    assert LLAMA.about({}).version is None


@pytest.mark.parametrize("folder", folders("llama_cpp"), ids=lambda path: path.name)
def test_the_server_tokenizes_what_we_ask(folder: Path) -> None:
    asked_then = json.loads((folder / "tokenize.request.json").read_bytes())
    call = LLAMA.tokenize_request(asked_then["content"], model="m")
    assert (call.path, json.loads(call.body)) == ("/tokenize", asked_then)
    ids = LLAMA.token_ids((folder / "tokenize.json").read_bytes())
    assert len(ids) == 19


# --- by hand: what the recordings do not show ----------------------------------------------------


def event(n: int, ms: float, drafted: int = 0, accepted: int = 0, **more: Any) -> dict[str, Any]:
    """The event that shows the n-th token; its id is n, unless `more` says otherwise."""
    counts = {"draft_n": drafted, "draft_n_accepted": accepted} if drafted else {}
    timings = {"cache_n": 0, "prompt_n": 6, "predicted_n": n, "predicted_ms": ms, **counts}
    return {"content": "x", "tokens": [n], "stop": False, "timings": timings, **more}


def end(n: int, ms: float, drafted: int = 0, accepted: int = 0, kind: str = "eos") -> Any:
    return event(n, ms, drafted, accepted, content="", tokens=[], stop=True, stop_type=kind)


def decoded(*events: Any) -> Response:
    return LLAMA.decode(asked(), stream(*events, done=False))


def check(response: Response) -> ChunkCheck:
    assert response.chunk_check is not None
    return response.chunk_check


def test_an_end_within_a_step_cuts_it_after_the_count() -> None:
    response = decoded(event(1, 0.001), event(2, 9.5, 4, 3), event(3, 9.5, 4, 3), end(3, 9.5, 4, 3))
    (step,) = response.steps
    assert (step.emitted, step.drafted, step.accepted) == (2, 4, 2)
    assert (step.observed, step.truncated) == (2, True)
    assert response.counts == Counts(drafts=1, drafted=4, accepted=3, steps=1)
    assert check(response) == ChunkCheck(chunks=1, steps=1, cut=1)


def test_a_step_without_a_draft_changes_neither_count() -> None:
    events = [event(1, 0.001), event(2, 4.0), event(3, 9.0, 2, 1), event(4, 9.0, 2, 1)]
    response = decoded(*events, event(5, 12.0, 2, 1), end(5, 12.0, 2, 1))
    assert counts_of(response.steps) == [(1, 0, 0), (2, 2, 1), (1, 0, 0)]
    assert check(response) == ChunkCheck(chunks=3, steps=1, undrafted=2)


def test_an_answer_that_ended_with_its_first_token_has_no_step() -> None:
    response = decoded(event(1, 0.001, content=""), end(1, 0.001))
    assert (response.tier, response.steps, response.n_prefill_tokens) == ("A", (), 1)
    assert_conserved(response)


def test_a_token_held_back_within_a_step_is_that_steps() -> None:
    """Token 2 ends within a character; the next event counts two, and has the id of the last."""
    events = [event(1, 0.001), event(3, 9.0, 4, 2), event(4, 9.0, 4, 2), end(4, 9.0, 4, 2)]
    response = decoded(*events)
    assert counts_of(response.steps) == [(3, 4, 2)]
    assert [chunk.token_ids for chunk in response.chunks] == [(1,), None, (4,)]
    assert_conserved(response)
    assert check(response).passed


def test_a_token_held_back_at_the_end_of_a_step_is_given_to_it() -> None:
    """Step one accepted two of four and shows two tokens; its third comes with step two."""
    events = [event(1, 0.001), event(2, 5.0, 4, 2), event(3, 5.0, 4, 2)]
    response = decoded(*events, event(5, 9.0, 8, 2), end(5, 9.0, 8, 2))
    assert counts_of(response.steps) == [(3, 4, 2), (1, 4, 0)]
    assert check(response).passed
    assert_conserved(response)


def test_a_whole_step_held_back_is_known_only_with_the_next() -> None:
    """Eight were drafted in two steps, or in one: whose drafts they were is not told."""
    events = [event(1, 0.001), event(3, 9.0, 8, 1), event(4, 9.0, 8, 1), end(4, 9.0, 8, 1)]
    response = decoded(*events)
    assert counts_of(response.steps) == [(1, None, None), (2, None, None)]
    assert [step.ended_ns for step in response.steps] == [None, 2]
    assert response.counts == Counts(drafts=None, drafted=8, accepted=1, steps=2)
    assert check(response) == ChunkCheck(chunks=1, steps=2, merged=1)
    assert_conserved(response)


def test_without_drafts_steps_held_back_are_known() -> None:
    response = decoded(event(1, 0.001), event(4, 9.0), end(4, 9.0))
    assert counts_of(response.steps) == [(1, 0, 0)] * 3
    assert check(response) == ChunkCheck(chunks=1, steps=0, undrafted=3, merged=2)


def test_a_prefill_token_that_was_held_back_is_still_no_step() -> None:
    response = decoded(event(2, 5.0, 4, 1), event(3, 5.0, 4, 1), end(3, 5.0, 4, 1))
    assert counts_of(response.steps) == [(2, 4, 1)]
    assert response.n_prefill_tokens == 1
    assert check(response) == ChunkCheck(chunks=0, steps=1, merged=1)
    assert_conserved(response)


def test_a_token_never_shown_is_counted_at_the_end() -> None:
    response = decoded(event(1, 0.001), event(2, 5.0), end(3, 8.0, kind="limit"))
    assert [chunk.n_tokens for chunk in response.chunks] == [1, 1, 1]
    assert counts_of(response.steps) == [(1, 0, 0), (1, 0, 0)]
    assert response.finish_reason == "length"
    assert_conserved(response)


def test_a_return_to_a_checkpoint_is_two_passes() -> None:
    """One of four accepted, then read again with what follows it: three tokens at once."""
    events = [event(1, 0.001), *(event(n, 9.0, 4, 1) for n in (2, 3, 4))]
    response = decoded(*events, end(4, 9.0, 4, 1))
    assert counts_of(response.steps) == [(2, 4, 1), (1, 0, 0)]
    assert [step.ended_ns for step in response.steps] == [None, 3]
    assert check(response) == ChunkCheck(chunks=1, steps=1, undrafted=1, merged=1)
    assert_conserved(response)


def chat(text: str | None, timings: dict[str, Any] | None, finish: str | None = None) -> Any:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return {"choices": [choice], **({"timings": timings} if timings else {})}


def test_chat_has_the_counts_without_ids() -> None:
    """The end has no text and so no chunk: the last message counts it."""
    counted = [event(1, 0.001), event(2, 5.0, 3, 1), end(3, 5.0, 3, 1)]
    first, second, last = (one["timings"] for one in counted)
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}
    messages = [role, chat("a", first), chat("b", second), chat(None, last, "stop")]
    response = LLAMA.decode(asked(None), stream(*messages))
    assert (response.tier, text_of(response)) == ("A", "ab")
    assert counts_of(response.steps) == [(2, 3, 1)]
    assert [chunk.token_ids for chunk in response.chunks] == [None, None, None]
    assert response.finish_reason == "stop"
    assert_conserved(response)


def test_a_server_that_counts_only_at_the_end_gives_no_evidence() -> None:
    plain = [{"content": "x", "tokens": [n], "stop": False} for n in (1, 2, 3)]
    response = decoded(*plain, end(3, 9.0, 4, 1))
    assert (response.tier, response.steps, response.counts) == ("none", (), None)
    assert ids_of(response) == [1, 2, 3]
    assert response.n_output_tokens == 3


# --- what is no answer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "word"),
    [
        ([event(1, 0.001), event(2, 5.0, 4, 5)], "accepted 5 of 4"),
        ([event(1, 0.001), event(2, 5.0, 4, 2), event(3, 9.0, 4, 1)], "accepted"),
        ([event(1, 0.001), event(2, 5.0, 4, 3), event(3, 9.0, 8, 3)], "accepted 3 of 4"),
        ([event(1, 0.001), *(event(n, 5.0, 4, 0) for n in (2, 3, 4))], "gave 3 tokens"),
        ([event(1, 0.001), event(2, 0.001)], "the prefill gave 2 tokens"),
        ([event(2, 0.001), event(1, 5.0)], "2 tokens became 1"),
    ],
)
def test_counts_that_contradict_each_other_are_a_failure(events: list[Any], word: str) -> None:
    last = {**events[-1], "stop": True, "stop_type": "limit"}
    with pytest.raises(StreamError, match=word) as caught:
        decoded(*events[:-1], last)
    assert caught.value.kind == "bad_counts"


def test_a_stream_without_its_end_and_an_error_in_it_are_failures() -> None:
    with pytest.raises(StreamError, match="without its end") as caught:
        decoded(event(1, 0.001), event(2, 5.0))
    assert caught.value.kind == "cut_stream"
    error = {"error": {"code": 500, "message": "context size exceeded", "type": "server_error"}}
    with pytest.raises(StreamError, match="context size exceeded") as caught:
        decoded(event(1, 0.001), error)
    assert caught.value.kind == "engine_error"
