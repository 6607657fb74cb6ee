"""Arrivals in an open loop: the rate that was asked for, in order, the same for the same chance."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.config import LoadConfig
from speedbench.errors import CallError, DataError
from speedbench.load import constant_arrivals, poisson_arrivals, recorded_arrivals, shape_of
from speedbench.load.plan import read_arrival_times

RATES = st.floats(1e-3, 1e5)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(RATES, st.integers(0, 2**32))
def test_poisson_arrivals_come_at_their_rate_and_memoryless(rate_rps: float, seed: int) -> None:
    """Gaps are exponential: mean and standard deviation are both 1 / rate."""
    n = 2_000
    times_s = poisson_arrivals(rate_rps, n, rng=rng(seed))
    gaps_s = np.diff(times_s, prepend=0.0) * rate_rps
    assert len(times_s) == n
    assert (gaps_s >= 0.0).all()
    assert abs(gaps_s.mean() - 1.0) < 6 / math.sqrt(n)
    # The variance of an exponential's sample variance is 8 / n.
    assert abs(gaps_s.var() - 1.0) < 6 * math.sqrt(8 / n)
    assert np.array_equal(times_s, poisson_arrivals(rate_rps, n, rng=rng(seed)))


def test_the_count_in_a_window_has_the_variance_of_its_mean() -> None:
    """2,000 windows at 20 a window: mean 20, index of dispersion 1, both within 5 sigma."""
    times_s = poisson_arrivals(20.0, 50_000, rng=rng(3))
    counts = np.bincount(times_s.astype(int))[:2_000]
    assert abs(counts.mean() - 20.0) < 5 * math.sqrt(20.0 / 2_000)
    assert abs(counts.var() / counts.mean() - 1.0) < 5 * math.sqrt(2 / 2_000)


@given(RATES, st.integers(1, 500))
def test_constant_arrivals_are_evenly_spaced_from_zero(rate_rps: float, n: int) -> None:
    times_s = constant_arrivals(rate_rps, n)
    assert times_s[0] == 0.0
    assert np.allclose(np.diff(times_s), 1 / rate_rps)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_recorded_arrivals_are_put_in_order_and_moved_to_zero(times: list[float]) -> None:
    found = recorded_arrivals(np.array(times))
    assert found[0] == 0.0
    assert (np.diff(found) >= 0.0).all()
    assert found[-1] == max(times) - min(times)


@pytest.mark.parametrize("rate_rps", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate_rps: float) -> None:
    with pytest.raises(CallError):
        poisson_arrivals(rate_rps, 3, rng=rng(0))
    with pytest.raises(CallError):
        constant_arrivals(rate_rps, 3)


@pytest.mark.parametrize("times", [[], [1.0, math.nan], [math.inf]])
def test_recorded_times_that_are_none_are_refused(times: list[float]) -> None:
    with pytest.raises(CallError):
        recorded_arrivals(np.array(times))


def test_times_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    path.write_text("seconds,what\n7.5,a\n\n7.0,b\n", encoding="utf-8")
    assert read_arrival_times(path).tolist() == [7.5, 7.0]
    shape = shape_of(LoadConfig(arrival_times=path), 99, seed=0)
    assert shape.arrivals_s == [0.0, 0.5]


@pytest.mark.parametrize("content", ["", "seconds\n", "1\nx\n", "1\nnan\n", "inf\n"])
def test_a_file_without_times_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="times"):
        read_arrival_times(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_arrival_times(tmp_path / "none")


def test_a_shape_depends_on_the_seed_alone() -> None:
    config = LoadConfig(request_rate=5.0)
    assert shape_of(config, 20, 1).arrivals_s == shape_of(config, 20, 1).arrivals_s
    assert shape_of(config, 20, 1).arrivals_s != shape_of(config, 20, 2).arrivals_s


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_a_duration_takes_as_many_arrivals_as_fall_into_it(arrivals: str) -> None:
    config = LoadConfig(request_rate=50.0, duration=20.0, arrivals=arrivals)
    times_s = shape_of(config, 3, 0).arrivals_s
    assert times_s is not None
    assert abs(len(times_s) - 1_000) < 5 * math.sqrt(1_000)
    assert max(times_s) < 20.0


def test_what_is_left_of_a_duration_is_what_an_interrupted_run_goes_on_with() -> None:
    config = LoadConfig(request_rate=50.0, duration=20.0)
    whole, rest = (shape_of(config, 3, 0, spent_s=s) for s in (0.0, 15.0))
    assert rest.duration_s == 5.0
    assert rest.arrivals_s == [s - 15.0 for s in whole.arrivals_s or () if s >= 15.0]
