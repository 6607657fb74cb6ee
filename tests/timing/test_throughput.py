"""Throughput in stated windows, by hand and against a count of every instant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.errors import CallError
from speedbench.timing import (
    Streams,
    Window,
    batch_at,
    in_flight,
    output_tps,
    peak_tps,
    steady_window,
    whole_window,
)

S = 1_000_000_000


def three_requests() -> Streams:
    """0: sent 0 s, tokens at 2 and 10; 1: sent 1, at 3 and 6; 2: sent 6, at 8 and 9."""
    return Streams.from_arrays(
        [0, 0, 1, 1, 2, 2],
        np.array([2, 10, 3, 6, 8, 9]) * S,
        [1, 4, 1, 4, 1, 2],
        sent_ns=np.array([0, 1, 6]) * S,
    )


def test_windows_and_output_tps():
    streams = three_requests()
    assert whole_window(streams) == Window(0, 10 * S, 1)
    assert output_tps(streams, whole_window(streams)).tokens_per_s == 13 / 10
    # Request 2 leaves in the instant in which request 1 ends, so two are in flight from 1 to 9 s.
    steady = steady_window(streams)
    assert steady == Window(1 * S, 9 * S, 2)
    found = output_tps(streams, steady)
    assert (found.tokens_per_s, found.n_tokens) == (9 / 8, 9)
    assert steady_window(streams, 1) == Window(0, 10 * S, 1)
    assert steady_window(streams, 3) is None
    with pytest.raises(CallError, match="no load"):
        steady_window(streams, 0)


def test_the_longest_of_several_spans_is_taken():
    streams = Streams.from_arrays(
        [0, 1, 2, 3], np.array([2, 3, 9, 12]) * S, [1] * 4, sent_ns=np.array([0, 1, 4, 5]) * S
    )
    assert steady_window(streams) == Window(5 * S, 9 * S, 2)


def test_peak_counts_tokens_not_chunks():
    # Within one second: chunks of 1, 1, 1 early, one chunk of 9 later.
    at = np.array([1.0, 1.2, 1.4, 3.0]) * S
    streams = Streams.from_arrays([0] * 4, at, [1, 1, 1, 9], sent_ns=[0])
    assert peak_tps(streams).tokens_per_s == 9
    assert peak_tps(streams, 2.0).tokens_per_s == 11 / 2
    with pytest.raises(CallError, match="no window"):
        peak_tps(streams, 0)


def test_no_run_has_no_throughput():
    nothing = Streams.from_arrays([], [], [], sent_ns=[0])
    assert whole_window(nothing) is None
    assert steady_window(nothing) is None
    assert np.isnan(output_tps(nothing, None).tokens_per_s)
    assert np.isnan(peak_tps(nothing).tokens_per_s)
    untold = Streams.from_arrays([0, 0], [S, 3 * S], None, sent_ns=[0])
    assert np.isnan(output_tps(untold, whole_window(untold)).tokens_per_s)
    assert np.isnan(peak_tps(untold).tokens_per_s)


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20), st.integers(1, 20)), max_size=8)


def streams_of(requests):
    rows = [(r, at) for r, (sent, wait, more) in enumerate(requests)
            for at in (sent + wait, sent + wait + more)]  # fmt: skip
    request, at = zip(*rows, strict=True) if rows else ((), ())
    return Streams.from_arrays(
        np.array(request, int), np.array(at, int), np.ones(len(rows), int),
        sent_ns=np.array([sent for sent, _, _ in requests], int),
    )  # fmt: skip


@given(spans)
def test_in_flight_counts_every_instant(requests):
    times, level = in_flight(streams_of(requests))
    for instant in range(80):
        expected = sum(sent <= instant < sent + wait + more for sent, wait, more in requests)
        row = np.searchsorted(times, instant, side="right") - 1
        assert (int(level[row]) if row >= 0 else 0) == expected


@given(spans)
def test_batch_at_counts_who_is_decoding(requests):
    streams = streams_of(requests)
    # After its first chunk and up to its last one.
    for instant in range(80):
        expected = sum(sent + wait < instant <= sent + wait + more for sent, wait, more in requests)
        assert batch_at(streams, [instant])[0] == expected


@given(spans, st.integers(1, 15))
def test_peak_is_the_best_of_every_span(requests, length):
    streams = streams_of(requests)
    found = peak_tps(streams, length * 1e-9)
    whole = whole_window(streams)
    if whole is None or whole.end_ns - whole.start_ns < length:
        assert np.isnan(found.tokens_per_s)
        return
    at = streams.at_ns
    best = max(int(((at > end - length) & (at <= end)).sum()) for end in range(90))
    assert found.n_tokens == best
