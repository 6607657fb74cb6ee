"""Whatever arrives, an adapter of a real engine gives a response or says that it failed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import reads
from tests.engines.recorded import GOLDEN, asked, by_message, recordings, stream

from speedbench.engines import StreamError, engine
from speedbench.records import Response

ENGINES = ("vllm", "sglang", "tensorrt_llm", "llama_cpp")
SAMPLES = [
    *((name, path) for name in ENGINES for path in recordings(name)[:2]),
    *(
        (name, path)
        for name in ("sglang", "tensorrt_llm")
        for path in sorted(GOLDEN.glob(f"{name}-*.sse"))
    ),
]
SAMPLE_IDS = [path.stem for _, path in SAMPLES]

COUNTS = st.integers(-1, 6) | st.integers() | st.just(2**53)
LEAVES = st.none() | st.booleans() | COUNTS | st.floats(allow_nan=False) | st.text(max_size=4)
VALUES = LEAVES | st.lists(COUNTS, max_size=4)
TIMINGS = st.fixed_dictionaries(
    {},
    optional={
        "predicted_n": COUNTS,
        "predicted_ms": st.floats(allow_nan=False),
        "draft_n": COUNTS,
        "draft_n_accepted": COUNTS,
        "prompt_n": COUNTS,
    },
)
META = st.dictionaries(
    st.sampled_from(
        [
            "completion_tokens",
            "spec_verify_ct",
            "spec_correct_drafts_histogram",
            "spec_num_proposed_drafts",
            "spec_accept_histogram",
            "finish_reason",
        ]
    ),
    VALUES,
)
SPEC = st.dictionaries(
    st.sampled_from(
        [
            "acceptance_histogram",
            "num_draft_tokens",
            "num_spec_tokens",
            "per_step_accepted",
            "per_step_drafted",
            "total_draft_tokens",
            "total_accepted_draft_tokens",
        ]
    ),
    VALUES,
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "token_ids": st.lists(st.integers(0, 9), max_size=4),
        "text": st.text(max_size=3),
        "delta": st.fixed_dictionaries({}, optional={"content": st.text(max_size=3)}),
        "finish_reason": st.sampled_from(["stop", None]),
        "avg_decoded_tokens_per_iter": st.floats(allow_nan=False) | COUNTS,
        "speculative_decoding": SPEC,
    },
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(CHOICE, max_size=2),
        "usage": st.fixed_dictionaries({"completion_tokens": COUNTS}),
        "metrics": st.fixed_dictionaries({"speculative_decoding": SPEC}),
        "meta_info": META,
        "output_ids": st.lists(st.integers(0, 9), max_size=5),
        "tokens": st.lists(st.integers(0, 9), max_size=2),
        "content": st.text(max_size=3),
        "timings": TIMINGS,
        "stop": st.booleans(),
        "sglext": st.fixed_dictionaries({"spec_tokens_details": META}),
    },
)


def outcome(name: str, data: bytes) -> Response | StreamError:
    """What an adapter makes of `data`; any other exception is a fault of the adapter."""
    try:
        return engine(name).decode(asked(None), reads(data))
    except StreamError as error:
        return error


def assert_is_an_outcome(found: Response | StreamError) -> None:
    if isinstance(found, Response):
        assert all(chunk.n_tokens is None or chunk.n_tokens >= 0 for chunk in found.chunks)
        assert all(step.emitted > 0 for step in found.steps)
    else:
        assert found.kind
        assert str(found)


@pytest.mark.parametrize("name", ENGINES)
@settings(max_examples=300, deadline=None)
@given(messages=st.lists(MESSAGE | LEAVES, max_size=4))
def test_messages_of_any_content(name: str, messages: list[object]) -> None:
    data = b"".join(b"data: " + json.dumps(message).encode() + b"\n\n" for message in messages)
    assert_is_an_outcome(outcome(name, data + b"data: [DONE]\n\n"))


@pytest.mark.parametrize(("name", "path"), SAMPLES, ids=SAMPLE_IDS)
def test_spoiled_bytes_of_a_good_stream(name: str, path: Path) -> None:
    data = path.read_bytes()
    for position in range(0, len(data), max(7, len(data) // 200)):
        spoiled = data[:position] + bytes([data[position] ^ 0x15]) + data[position + 1 :]
        assert_is_an_outcome(outcome(name, spoiled))


@pytest.mark.parametrize(("name", "path"), SAMPLES, ids=SAMPLE_IDS)
def test_a_lost_message_never_passes_for_a_whole_answer(name: str, path: Path) -> None:
    """Tokens that went missing are noticed here, or where tokens and the engine's count meet."""
    events = by_message(path.read_bytes())
    for lost in range(1, len(events) - 2):
        data = b"".join(event.data for event in itertools.chain(events[:lost], events[lost + 1 :]))
        found = outcome(name, data)
        assert_is_an_outcome(found)
        if isinstance(found, Response) and found.n_output_tokens is not None:
            in_chunks = sum(chunk.n_tokens or 0 for chunk in found.chunks)
            in_steps = sum(step.emitted for step in found.steps) + (found.n_prefill_tokens or 0)
            whole = in_chunks == found.n_output_tokens
            noticed = found.chunk_check is not None and found.chunk_check.residual > 0
            assert not found.steps or whole or noticed or in_steps != found.n_output_tokens


HUGE = 2**52
FIRST = [
    {
        "choices": [{"token_ids": [n], "avg_decoded_tokens_per_iter": 1.0}],
        "usage": {"completion_tokens": n},
    }
    for n in (1, 2)
]


def summary(**told: Any) -> dict[str, Any]:
    both = {"num_draft_tokens": HUGE, "num_spec_tokens": 1, **told}
    return {"choices": [], "metrics": {"speculative_decoding": both}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vllm", summary(acceptance_histogram=[HUGE])),
        ("sglang", {"usage": {"completion_tokens": HUGE}}),
        (
            "sglang",
            {
                "sglext": {
                    "spec_tokens_details": {
                        "spec_verify_ct": HUGE,
                        "spec_correct_drafts_histogram": [HUGE],
                    }
                }
            },
        ),
        ("tensorrt_llm", {"usage": {"completion_tokens": HUGE}}),
        ("llama_cpp", {"timings": {"predicted_n": HUGE, "prompt_n": 1}}),
    ],
)
def test_counts_beyond_all_measure_are_refused_before_they_are_spread_out(
    name: str, message: dict[str, Any]
) -> None:
    """A list of as many steps as such a message claims would take all memory."""
    with pytest.raises(StreamError) as caught:
        engine(name).decode(asked(None), stream(*FIRST, message))
    assert caught.value.kind == "bad_counts"


def test_an_accepted_count_beyond_all_measure_looks_like_a_cut() -> None:
    told = summary(
        acceptance_histogram=[0, 1], per_step_drafted=[HUGE], per_step_accepted=[HUGE - 1]
    )
    check = engine("vllm").decode(asked(None), stream(*FIRST, told)).chunk_check
    assert check is not None
    assert check.cut == 1  # as many as that were accepted, and the end came after one
