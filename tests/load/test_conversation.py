"""A prompt becomes the same requests whoever sends it, and what cannot fit is refused before."""

from __future__ import annotations

import pytest

from speedbench.errors import DataError
from speedbench.load import Conversation, reject_too_long
from speedbench.records import Answer, Chunk, Prompt, Request, Response, Sampling
from speedbench.tokenization import ChatTokenizer, hash_ids, hash_messages

PROMPT = Prompt(id="mini/x-01", category="qa", turns=("One?", "Two?"))
SAMPLING = Sampling(max_tokens=8, seed=3)


def answer(text: str, *ids: int) -> Answer:
    return Answer(input_hash="", text=text, token_ids=ids)


def turns(tokenizer: ChatTokenizer | None, sampling: Sampling = SAMPLING) -> list[Request]:
    conversation = Conversation(PROMPT, sampling, tokenizer)
    first = conversation.request(0, None, None)
    return [first, conversation.request(1, first, answer("Yes.", 40, 41))]


def test_without_a_tokenizer_requests_hold_messages() -> None:
    first, second = turns(None)
    assert (first.id, second.id) == ("mini/x-01#0", "mini/x-01#1")
    assert first.messages == (("user", "One?"),)
    assert second.messages == (("user", "One?"), ("assistant", "Yes."), ("user", "Two?"))
    assert first.input_ids is second.input_ids is None
    assert second.input_hash == hash_messages(second.messages)


def test_with_a_tokenizer_the_answer_goes_back_as_the_ids_that_came(
    demo_tokenizer: ChatTokenizer,
) -> None:
    first, second = turns(demo_tokenizer)
    assert first.input_ids is not None
    assert second.input_ids is not None
    n = len(first.input_ids)
    assert second.input_ids[: n + 2] == (*first.input_ids, 40, 41)
    assert second.input_hash == hash_ids(second.input_ids)


def test_the_sampling_seed_depends_on_run_and_request_alone() -> None:
    first, second = turns(None)
    again = turns(None)
    other = turns(None, Sampling(max_tokens=8, seed=4))
    assert [r.sampling for r in again] == [first.sampling, second.sampling]
    assert len({r.sampling.seed for r in (first, second, *other)}) == 4
    assert all(0 <= r.sampling.seed < 2**31 for r in (first, second, *other))


def test_what_fits_exactly_is_taken_and_one_token_more_is_not(
    demo_tokenizer: ChatTokenizer,
) -> None:
    only = Prompt(id="p", category="qa", turns=("One?",))
    length = len(demo_tokenizer.first_turn([("user", "One?")]))
    reject_too_long([only], demo_tokenizer, 8, length + 8)
    with pytest.raises(DataError, match=rf"'p' needs up to {length + 8} .* holds {length + 7}"):
        reject_too_long([only], demo_tokenizer, 8, length + 7)


def test_a_conversation_is_refused_by_what_it_may_grow_to(demo_tokenizer: ChatTokenizer) -> None:
    """What is counted beforehand is never less than what is sent."""
    conversation = Conversation(PROMPT, SAMPLING, demo_tokenizer)
    first = conversation.request(0, None, None)
    second = conversation.request(1, first, answer("", *range(100, 108)))
    assert second.input_ids is not None
    need = len(second.input_ids) + SAMPLING.max_tokens
    with pytest.raises(DataError):
        reject_too_long([PROMPT], demo_tokenizer, SAMPLING.max_tokens, need - 1)


def test_a_history_is_told_in_place_of_the_engines_own_answer(
    demo_tokenizer: ChatTokenizer,
) -> None:
    for tokenizer in (None, demo_tokenizer):
        told = Conversation(PROMPT, SAMPLING, tokenizer, [answer("Yes.", 40, 41)])
        first = told.request(0, None, None)
        assert [first, told.request(1, first, answer("No.", 50))] == turns(tokenizer)


def test_laps_about_the_same_prompt_are_told_apart() -> None:
    requests = [Conversation(PROMPT, SAMPLING, None, lap=n).request(0, None, None) for n in (0, 1)]
    assert [request.id for request in requests] == ["mini/x-01#0", "mini/x-01#0+1"]
    assert requests[0].input_hash == requests[1].input_hash
    assert requests[0].sampling.seed != requests[1].sampling.seed


def test_an_answer_keeps_ids_only_where_every_chunk_has_them() -> None:
    request = Conversation(PROMPT, SAMPLING, None).request(0, None, None)
    one = Chunk(at_ns=1, n_tokens=2, token_ids=(5, 6), text="a")
    other = Chunk(at_ns=2, n_tokens=None, text="b")
    whole = Answer.of(request, Response(chunks=(one, one)))
    assert (whole.text, whole.token_ids) == ("aa", (5, 6, 5, 6))
    assert whole.input_hash == request.input_hash
    part = Answer.of(request, Response(chunks=(one, other)))
    assert (part.text, part.token_ids) == ("ab", None)
