"""Latencies of one stream worked by hand, and of streams whose step time is known."""

import numpy as np
import pytest

from speedbench.errors import TraceError
from speedbench.timing import (
    Streams,
    decode_seconds_per_token,
    decode_sums_by,
    e2e_s,
    itl_s,
    step_seconds_from_stamps,
    tpot_s,
    ttft_s,
    user_tps,
)

MS = 1_000_000


@pytest.fixture
def streams() -> Streams:
    """Scheduled at 0, sent at 100 ms; chunks at 500 ms (2 tokens), 600 (1) and 900 (3)."""
    return Streams.from_arrays(
        [0, 0, 0, 1],
        [500 * MS, 600 * MS, 900 * MS, 300 * MS],
        [2, 1, 3, 1],
        sent_ns=[100 * MS, 200 * MS, 0],
        scheduled_ns=[0, 200 * MS, 0],
    )


def test_ttft_from_each_start(streams):
    np.testing.assert_allclose(ttft_s(streams), [0.4, 0.1, np.nan])
    np.testing.assert_allclose(ttft_s(streams, "scheduled"), [0.5, 0.1, np.nan])
    np.testing.assert_allclose(e2e_s(streams), [0.8, 0.1, np.nan])


def test_decode_divides_by_what_arrived(streams):
    # 4 tokens arrived in the 400 ms after the first chunk.
    np.testing.assert_allclose(decode_seconds_per_token(streams), [0.1, np.nan, np.nan])
    np.testing.assert_allclose(user_tps(streams), [10, np.nan, np.nan])
    np.testing.assert_allclose(tpot_s(streams, "arrived"), [0.1, np.nan, np.nan])
    # vLLM's divides by all tokens but one: 400 ms / 5.
    np.testing.assert_allclose(tpot_s(streams), [0.08, np.nan, np.nan])


def test_the_three_inter_token_latencies(streams):
    np.testing.assert_allclose(itl_s(streams, "chunk"), [0.1, 0.3])
    np.testing.assert_allclose(itl_s(streams, "amortised"), [0.1, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(itl_s(streams, "zero_inside"), [0.1, 0.3, 0, 0])


def test_step_time_never_holds_ttft(streams):
    np.testing.assert_allclose(
        step_seconds_from_stamps(streams), [np.nan, 0.1, 0.3, np.nan], rtol=1e-12
    )


def test_decode_sums_by_prompt(streams):
    sums = decode_sums_by(streams, [0, 1, 1], n_units=3)
    np.testing.assert_allclose(sums.seconds, [0.4, 0, 0])
    assert sums.tokens.tolist() == [4, 0, 0]
    assert sums.requests.tolist() == [1, 0, 0]
    assert sums.n_undefined == 2
    with pytest.raises(TraceError, match="outside the 1 units"):
        decode_sums_by(streams, [0, 1, 1], n_units=1)
    with pytest.raises(TraceError, match="do not number"):
        decode_sums_by(streams, [0])


def test_everything_at_one_stamp_has_no_speed():
    streams = Streams.from_arrays([0, 0], [5, 5], [1, 3], sent_ns=[0])
    assert np.isnan(user_tps(streams)[0])
    assert decode_seconds_per_token(streams)[0] == 0


def test_chunks_that_do_not_tell_tokens_give_ttft_and_no_rates():
    streams = Streams.from_arrays([0, 0], [500 * MS, 900 * MS], None, sent_ns=[0])
    assert ttft_s(streams)[0] == 0.5
    assert itl_s(streams, "chunk").tolist() == [0.4]
    for figure in (user_tps, decode_seconds_per_token, tpot_s):
        assert np.isnan(figure(streams)).all()
    assert np.isnan(itl_s(streams, "amortised")).all()
    assert decode_sums_by(streams).n_undefined == 1


def test_a_known_engine_is_found_again():
    """Steps of exactly 25 ms and known AL: decode seconds per token is 25 ms / AL."""
    rng = np.random.default_rng(3)
    n, steps = 50, 40
    request = np.repeat(np.arange(n), steps + 1)
    prefill_ms = rng.integers(80, 900, n)
    at = prefill_ms[:, None] * MS + np.arange(steps + 1) * 25 * MS
    tokens = rng.integers(1, 5, (n, steps + 1))
    tokens[:, 0] = 1
    streams = Streams.from_arrays(request, at.ravel(), tokens.ravel(), sent_ns=np.zeros(n, int))
    np.testing.assert_allclose(ttft_s(streams), prefill_ms / 1000)
    al = tokens[:, 1:].mean(axis=1)
    np.testing.assert_allclose(decode_seconds_per_token(streams), 0.025 / al)
    np.testing.assert_allclose(user_tps(streams), al / 0.025)
    sums = decode_sums_by(streams)
    pooled = sums.seconds.sum() / sums.tokens.sum()
    assert pooled == pytest.approx(0.025 / tokens[:, 1:].mean())


def test_stamps_of_a_wall_clock_lose_less_than_a_microsecond():
    epoch = 1_790_000_000_000_000_000
    streams = Streams.from_arrays([0, 0], [epoch + 5 * MS, epoch + 6 * MS], [1, 1], sent_ns=[epoch])
    assert ttft_s(streams)[0] == pytest.approx(0.005, abs=1e-6)
