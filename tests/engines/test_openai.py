"""The OpenAI adapter: what it asks for, what it reads, and that every bad stream is a failure."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import server
from tests.conftest import reads

from speedbench.engines import StreamError, engine
from speedbench.records import Request, Response, Sampling

OPENAI = engine("openai")
REQUEST = Request(
    id="p#1",
    prompt_id="p",
    turn=1,
    input_hash="0",
    sampling=Sampling(max_tokens=16, seed=5),
    messages=(("user", "Hi"), ("assistant", "Hello."), ("user", "Go on")),
)


def decoded(script: server.Script, *positions: int) -> Response:
    return OPENAI.decode(REQUEST, reads(script.body, *positions))


def failure(script: server.Script) -> StreamError:
    with pytest.raises(StreamError) as caught:
        decoded(script)
    return caught.value


# --- what goes out -------------------------------------------------------------------------------


def test_the_call_carries_the_whole_conversation_and_asks_for_usage() -> None:
    call = OPENAI.build_request(REQUEST, model="m")
    assert call.path == "/v1/chat/completions"
    assert json.loads(call.body) == {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Go on"},
        ],
        "max_tokens": 16,
        "temperature": 0.0,
        "seed": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_frequency_penalty_is_sent_only_when_it_is_one() -> None:
    penal = Request(
        id="p#0",
        prompt_id="p",
        turn=0,
        input_hash="0",
        sampling=Sampling(max_tokens=1, frequency_penalty=0.2),
    )
    assert json.loads(OPENAI.build_request(penal, model="m").body)["frequency_penalty"] == 0.2


# --- what comes back -----------------------------------------------------------------------------


def test_text_chunks_are_kept_with_their_stamps_and_counts_are_the_servers() -> None:
    script = server.chat("Grüße", " 日本", " 🙂")
    positions = [sum(map(len, script.pieces[:n])) for n in range(1, len(script.pieces))]
    response = decoded(script, *positions)
    assert [chunk.text for chunk in response.chunks] == ["Grüße", " 日本", " 🙂"]
    assert [chunk.at_ns for chunk in response.chunks] == [2, 3, 4]  # read 1 holds the role alone
    assert (response.n_input_tokens, response.n_output_tokens) == (7, 3)
    assert response.finish_reason == "stop"


def test_text_alone_is_no_evidence_about_speculation() -> None:
    response = decoded(server.chat("a", "b"))
    assert response.tier == "none"
    assert response.steps == ()
    assert response.n_prefill_tokens is None
    assert all(chunk.n_tokens is None for chunk in response.chunks)


@settings(max_examples=50)
@given(st.sets(st.integers(0, 700)))
def test_text_survives_reads_that_end_within_a_character(positions: set[int]) -> None:
    script = server.chat("Grüße", " 日本", " 🙂")
    response = decoded(script, *[p for p in positions if p < len(script.body)])
    assert "".join(chunk.text for chunk in response.chunks) == "Grüße 日本 🙂"


def test_a_server_without_usage_leaves_counts_unknown() -> None:
    pieces = [p for p in server.chat("a", "b").pieces if b"usage" not in p]
    response = decoded(server.Script(pieces))
    assert (response.n_input_tokens, response.n_output_tokens) == (None, None)


def test_an_empty_answer_is_an_answer() -> None:
    response = decoded(server.empty_answer())
    assert response.chunks == ()
    assert response.n_output_tokens == 0


# --- what is no answer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "kind", "word"),
    [
        (server.cut_mid_event(), "cut_stream", "2 events"),
        (server.ended_without_done(), "cut_stream", "without its end"),
        (server.bad_json(), "bad_json", "choices"),
        (server.error_event(), "engine_error", "out of memory"),
        (server.Script(), "empty_answer", "nothing else"),
        (server.Script([server.event({"choices": "none"})]), "bad_shape", "$.choices"),
        (server.Script([server.event([1, 2])]), "bad_shape", "array"),
        (server.Script([b'data: {"x": ' + b"[" * 100_000 + b"\n\n"]), "bad_json", "recursion"),
        (server.Script([b'data: {"error": "\xff\xfe"}\n\n']), "bad_text", "invalid start byte"),
    ],
)
def test_a_bad_stream_is_a_failure_of_its_kind(script: server.Script, kind: str, word: str) -> None:
    error = failure(script)
    assert error.kind == kind
    assert word in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = ["choices", "usage", "error", "delta", "content", "text", "token_ids", "finish_reason"]
NAMES += ["speedbench", "drafted", "prompt_tokens", "completion_tokens", "index", "batch"]
SHAPED = st.recursive(
    JSON,
    lambda inner: (
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=5) | st.lists(inner, max_size=2)
    ),
    max_leaves=12,
)


def outcome(name: str, data: bytes) -> Response | StreamError:
    """What a decoder makes of `data`; any other exception is a fault of the decoder."""
    try:
        return engine(name).decode(REQUEST, reads(data))
    except StreamError as error:
        return error


def assert_is_an_outcome(found: Response | StreamError) -> None:
    assert isinstance(found, Response) or (found.kind and str(found))


@pytest.mark.parametrize("name", ["openai", "embedded"])
class TestNoBytesBreakADecoder:
    """Whatever arrives, a decoder gives a response or says that the request failed."""

    @settings(max_examples=100)
    @given(pieces=st.lists(st.binary(max_size=60), max_size=5))
    def test_random_bytes(self, name: str, pieces: list[bytes]) -> None:
        framed = b"".join(b"data: " + piece + b"\n\n" for piece in pieces) + server.DONE
        assert_is_an_outcome(outcome(name, framed))
        assert_is_an_outcome(outcome(name, b"".join(pieces)))

    @settings(max_examples=200)
    @given(payloads=st.lists(SHAPED, max_size=4))
    def test_json_of_other_shapes(self, name: str, payloads: list[object]) -> None:
        data = b"".join(map(server.event, payloads)) + server.DONE
        assert_is_an_outcome(outcome(name, data))

    def test_spoiled_bytes_of_a_good_stream(
        self, name: str, golden: Callable[[str], bytes]
    ) -> None:
        data = golden("embedded-draft_model-k3.sse")
        for position in range(0, len(data), 3):
            spoiled = data[:position] + bytes([data[position] ^ 0x15]) + data[position + 1 :]
            assert_is_an_outcome(outcome(name, spoiled))
