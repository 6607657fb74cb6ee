"""Step latency: decode only, by batch, each iteration once."""

import numpy as np
import pytest

from speedbench.errors import TraceError
from speedbench.timing import Streams, batch_at, step_latency


def test_an_iteration_shared_by_a_batch_counts_once():
    # Iteration 1: batch of 3; iteration 2: prefill inside; iterations 3 and 4: batch of 1.
    found = step_latency(
        [0.3, 0.3, 0.3, 9.0, 0.1, 0.2],
        batch=[3, 3, 3, 4, 1, 1],
        mixed=[False, False, False, True, False, False],
        iteration=[1, 1, 1, 2, 3, 4],
    )
    assert [(f.batch, f.n) for f in found] == [(1, 2), (3, 1)]
    assert found[0].mean_s == pytest.approx(0.15)
    assert found[0].median_s == pytest.approx(0.15)
    assert found[0].std_s == pytest.approx(np.std([0.1, 0.2], ddof=1))
    assert np.isnan(found[1].std_s)


def test_warm_up_and_unknown_times_are_left_out():
    (found,) = step_latency([9.0, 0.2, np.nan, 0.4], iteration=[1, 2, 3, 4], warm_up=1)
    assert (found.n, np.isnan(found.batch)) == (2, True)
    assert found.mean_s == pytest.approx(0.3)


def test_nothing_left_is_an_empty_list():
    assert step_latency([]) == []
    assert step_latency([0.1], mixed=[True]) == []
    assert step_latency([np.nan], batch=[1]) == []


def test_impossible_times_are_refused():
    with pytest.raises(TraceError, match="step 1: impossible time"):
        step_latency([0.1, -0.1])
    with pytest.raises(TraceError, match="column batch has shape"):
        step_latency([0.1, 0.1], batch=[1])


def test_step_latency_as_a_function_of_the_batch_is_found_again():
    """An engine whose step takes 10 ms + 1 ms per request: the client's batch tells it so."""
    stamps: list[tuple[int, int]] = []
    now, left = 0, {r: 20 + 3 * r for r in range(6)}
    while left:
        now += 10_000_000 + 1_000_000 * len(left)
        for request in list(left):
            stamps.append((request, now))
            left[request] -= 1
            if not left[request]:
                del left[request]
    request, at = np.array(stamps).T
    streams = Streams.from_arrays(request, at, np.ones(len(at), int), sent_ns=[0] * 6)
    batch = batch_at(streams)
    gaps = np.concatenate([[np.nan], np.diff(streams.at_ns) * 1e-9])
    gaps[streams.starts[:-1]] = np.nan
    for found in step_latency(gaps, batch=batch, iteration=streams.at_ns):
        if found.batch:
            assert found.mean_s == pytest.approx(0.010 + 0.001 * found.batch)
