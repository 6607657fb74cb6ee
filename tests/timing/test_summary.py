"""Percentiles with their count, and goodput."""

import numpy as np
import pytest

from speedbench.errors import CallError
from speedbench.timing import Streams, Window, goodput, goodput_share, percentiles, whole_window

S = 1_000_000_000


def test_percentiles_of_101_values_are_the_values():
    found = percentiles(np.random.default_rng(1).permutation(101).astype(float))
    assert found.values == (50, 90, 95, 99)
    assert (found.n, found.n_undefined, found.mean) == (101, 0, 50)
    assert found.at(95) == 95


def test_nothing_defined_is_nan_with_a_count_of_why():
    found = percentiles([np.nan, np.nan])
    assert np.isnan(found.values).all()
    assert (found.n, found.n_undefined) == (0, 2)
    with pytest.raises(CallError, match=r"\[0, 100\]"):
        percentiles([1.0], q=(101,))


def test_goodput_counts_who_meets_every_objective():
    # TTFT 1, 3 and never; decode seconds per token 0.5 (2 tokens in 1 s), none (one token).
    streams = Streams.from_arrays(
        [0, 0, 1], np.array([1, 2, 3]) * S, [1, 2, 1], sent_ns=[0, 0, 0], scheduled_ns=[0, 0, 0]
    )
    assert goodput_share(streams) == 2 / 3
    assert goodput_share(streams, ttft_slo_s=2) == 1 / 3
    assert goodput_share(streams, tpot_slo_s=0.4) == 1 / 3
    assert goodput_share(streams, ttft_slo_s=2, tpot_slo_s=0.4) == 0
    assert goodput(streams, whole_window(streams), e2e_slo_s=2.5) == 1 / 3
    assert goodput(streams, Window(2 * S, 4 * S, 1)) == 1 / 2
    assert np.isnan(goodput(streams, None))


def test_goodput_counts_from_the_schedule():
    late = Streams.from_arrays([0], [5 * S], [1], sent_ns=[4 * S], scheduled_ns=[0])
    assert goodput_share(late, ttft_slo_s=2) == 0
    assert goodput_share(late, ttft_slo_s=2, since="sent") == 1
    with pytest.raises(CallError, match="not 'arrived'"):
        goodput_share(late, since="arrived")
    assert np.isnan(goodput_share(Streams.from_arrays([], [], [], sent_ns=[])))
