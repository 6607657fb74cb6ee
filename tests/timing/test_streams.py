"""Stamps that cannot be raise one sentence; order of arrival between requests does not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.errors import TraceError
from speedbench.timing import Streams, decode_sums_by, itl_s, ttft_s

NAN = float("nan")

IMPOSSIBLE = [
    (([0, 0, 0], [5, 9, 7], [1, 1, 1], [0]), "request 0, chunk 2: stamp 7 ns runs back from 9 ns"),
    (
        ([1, 0, 1], [9, 1, 8], [1, 1, 1], [0, 0]),
        "request 1, chunk 1: stamp 8 ns runs back from 9 ns",
    ),
    (
        ([0, 1], [5, 3], [1, 1], [0, 4]),
        "request 1, chunk 0: stamp 3 ns is before the request was sent at 4 ns",
    ),
    (([0, 0], [5, 6], [1, -2], [0]), "request 0, chunk 1: -2 tokens"),
    (([2], [5], [1], [0, 0]), "a chunk belongs to none of the 2 requests sent"),
    (([0], [NAN], [1], [0]), "row 0: at_ns is nan, not a whole number"),
    (([0], [5], [1.5], [0]), "row 0: n_tokens is 1.5, not a whole number"),
    (([0, 0], [5], [1], [0]), "columns of chunks, or of requests, have unequal lengths"),
    (([[0]], [5], [1], [0]), "column request has 2 dimensions, and one is needed"),
]


@pytest.mark.parametrize(("columns", "sentence"), IMPOSSIBLE)
def test_impossible_stamps(columns, sentence):
    request, at, tokens, sent = columns
    with pytest.raises(TraceError) as caught:
        Streams.from_arrays(request, at, tokens, sent_ns=sent)
    assert str(caught.value) == sentence


def test_requests_are_called_by_their_names():
    with pytest.raises(TraceError, match="request qa-3: sent 4 ns before it was scheduled"):
        Streams.from_arrays([], [], [], sent_ns=[9, 1], scheduled_ns=[0, 5], names=["a", "qa-3"])


@given(st.lists(st.integers(0, 3), max_size=20), st.randoms(use_true_random=False))
def test_requests_may_be_interleaved(requests, random):
    rng = np.random.default_rng(len(requests))
    at = np.sort(rng.integers(0, 10**9, len(requests)))
    tokens = rng.integers(0, 4, len(requests))
    apart = np.argsort(requests, kind="stable")
    one = Streams.from_arrays(np.array(requests, int), at, tokens, sent_ns=[0] * 4)
    two = Streams.from_arrays(
        np.array(requests, int)[apart], at[apart], tokens[apart], sent_ns=[0] * 4
    )
    np.testing.assert_array_equal(ttft_s(one), ttft_s(two))
    np.testing.assert_array_equal(decode_sums_by(one).seconds, decode_sums_by(two).seconds)
    np.testing.assert_array_equal(itl_s(one, "amortised"), itl_s(two, "amortised"))


def test_chunks_without_tokens_are_no_first_token():
    streams = Streams.from_arrays([0, 0, 0], [1, 5, 9], [0, 2, 0], sent_ns=[0])
    assert streams.first_ns.tolist() == [5]
    assert streams.last_ns.tolist() == [5]
    assert streams.tokens.tolist() == [2]


def test_a_request_without_chunks_keeps_its_place():
    streams = Streams.from_arrays([0, 2], [5, 6], [1, 1], sent_ns=[0, 0, 0])
    assert len(streams) == 3
    assert streams.n_chunks.tolist() == [1, 0, 1]
    assert np.isnan(ttft_s(streams)[1])


def test_no_request_at_all():
    streams = Streams.from_arrays([], [], [], sent_ns=[])
    assert len(streams) == 0
    assert ttft_s(streams).tolist() == []


def test_small_integer_types_hold_many_requests():
    request = np.arange(200, dtype=np.uint8)
    streams = Streams.from_arrays(request, np.arange(200) + 1, np.ones(200), sent_ns=[0] * 300)
    assert streams.tokens.sum() == 200
