"""Shares lie in [0, 1], also where every prompt agrees."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from speedbench.errors import CallError, TraceError
from speedbench.stats import combine, share_interval, superiority


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("n", [2, 8, 80])
def test_where_every_prompt_agrees_each_is_one_trial(n):
    sure = share_interval([7] * n, [7] * n, rng=rng())
    exact = reference.binomtest(n, n).proportion_ci(method="exact")
    assert (sure.low, sure.high) == pytest.approx((exact.low, exact.high))
    never = share_interval([0] * n, [7] * n, rng=rng())
    assert (never.low, never.high) == pytest.approx((1 - exact.high, 1 - exact.low))
    assert "every prompt agrees" in sure.note


def test_agreement_elsewhere_is_no_certainty_either():
    # 8 prompts of 10/20 each: half of 8 trials, by scipy's exact interval.
    found = share_interval([10] * 8, [20] * 8, rng=rng())
    exact = reference.binomtest(4, 8).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


counts = st.lists(
    st.integers(1, 40).flatmap(lambda d: st.tuples(st.integers(0, d), st.just(d))),
    min_size=2,
    max_size=12,
)


@given(counts)
def test_bounds_stay_within_0_and_1_and_mirror(rows):
    num, den = np.array(rows).T
    found = share_interval(num, den, rng=rng())
    other = share_interval(den - num, den, rng=rng())
    assert other.value == pytest.approx(1 - found.value)
    if not math.isnan(found.low):
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert (other.low, other.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_coins_of_one_kind_are_covered_as_often_as_binomial():
    # 200 prompts of 20 tosses each at 0.97: 1,500 runs, Monte Carlo error 0.6 points.
    chance, hits = rng(3), 0
    for _ in range(1500):
        found = share_interval(chance.binomial(20, 0.97, 200), np.full(200, 20), rng=chance)
        hits += found.low <= 0.97 <= found.high
    assert 0.93 <= hits / 1500 <= 0.97


def test_its_error_is_that_of_a_mean_of_prompts():
    # Equal denominators: the share is the mean of the prompts' own, with the textbook error.
    own = np.array([0.9, 0.7, 0.8, 0.9])
    found = share_interval(10 * own, np.full(4, 10), rng=rng())
    spread = reference.sem(own)
    assert found.se * found.value * (1 - found.value) == pytest.approx(spread)
    assert found.df == pytest.approx(3)


def test_a_share_can_be_tested_and_combined():
    found = share_interval([18, 15, 17, 19], [20] * 4, rng=rng())
    assert superiority(found, 0.5).rejects(0.05)
    assert not superiority(found, 0.85).rejects(0.05)
    with pytest.raises(CallError, match="no ratio or share can be 1"):
        superiority(found, 1.0)
    # To first order, the log of p has the error of p over p.
    doubled = combine([(found, 1)])
    assert doubled.se == pytest.approx(found.se * (1 - found.value))


def test_impossible_shares_are_refused():
    with pytest.raises(TraceError, match="a share of 5 out of 4 cannot be"):
        share_interval([1, 5], [4, 4], rng=rng())
    assert math.isnan(share_interval([], [], rng=rng()).value)
    assert math.isnan(share_interval([1], [4], rng=rng()).low)
