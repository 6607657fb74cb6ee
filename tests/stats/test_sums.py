"""Intervals of functions of sums, against scipy, textbook formulas and scaling laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from speedbench.errors import CallError, TraceError
from speedbench.stats import (
    METHODS,
    Interval,
    difference_interval,
    mean_interval,
    paired_ratio_interval,
    ratio_interval,
    sums_interval,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def gamma_pairs(n, seed=1):
    """Return tokens and steps of n prompts, skewed, with about 2.4 tokens a step."""
    chance = rng(seed)
    steps = np.ceil(chance.gamma(2.0, 30.0, n))
    return steps * np.clip(chance.normal(2.4, 0.4, n), 1, 4), steps


def test_a_mean_of_independent_values_is_the_textbook_t_interval():
    values = rng(3).normal(5, 2, 12)
    found = mean_interval(values, rng=rng())
    low, high = reference.t.interval(0.95, 11, values.mean(), reference.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert found.df == pytest.approx(11)


def test_a_paired_difference_of_means_is_the_textbook_paired_t_interval():
    before, after = rng(4).normal(5, 2, (2, 15))
    one = np.ones(15)
    found = difference_interval(after, one, before, one, rng=rng())
    expected = reference.ttest_rel(after, before).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_standard_error_of_a_ratio_is_that_of_survey_sampling():
    # Cochran (1977), 6.4: v(R) = Σ (y - R x)^2 / (n (n - 1) mean(x)^2), to first order.
    tokens, steps = gamma_pairs(500)
    found = ratio_interval(tokens, steps, rng=rng())
    r = tokens.sum() / steps.sum()
    n = len(steps)
    variance = np.square(tokens - r * steps).sum() / (n * (n - 1) * steps.mean() ** 2)
    assert found.se == pytest.approx(np.sqrt(variance) / r, rel=0.01)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_bootstraps_agree_with_scipys(method):
    tokens, steps = gamma_pairs(60)
    ours = ratio_interval(tokens, steps, rng=rng(5), method=method, n_resamples=20_000)
    theirs = reference.bootstrap(
        (tokens, steps),
        lambda t, s, axis: t.sum(axis=axis) / s.sum(axis=axis),
        paired=True,
        vectorized=True,
        method=method,
        n_resamples=20_000,
        rng=rng(6),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


@pytest.mark.parametrize("method", METHODS)
def test_methods_agree_where_there_is_plenty(method):
    tokens, steps = gamma_pairs(4000)
    found = ratio_interval(tokens, steps, rng=rng(1), method=method)
    plain = ratio_interval(tokens, steps, rng=rng(1), method="jackknife-t")
    width = plain.high - plain.low
    assert found.low == pytest.approx(plain.low, abs=0.12 * width)
    assert found.high == pytest.approx(plain.high, abs=0.12 * width)
    assert found.method == ("jackknife-t" if method == "auto" else method)


def test_pairing_takes_out_what_prompts_share():
    chance = rng(8)
    tokens = np.full(40, 100.0)
    cost = np.exp(chance.normal(0, 1, 40))
    ar, sd = tokens * 0.02 * cost, tokens * 0.01 * cost * np.exp(chance.normal(0, 0.02, 40))
    paired = paired_ratio_interval(ar, tokens, sd, tokens, rng=rng())
    alone = ratio_interval(ar, tokens, rng=rng())
    assert paired.low < 2 < paired.high
    assert paired.high / paired.low < 1.05
    assert alone.high / alone.low > 1.3


def test_prompts_without_a_partner_are_left_out_and_counted():
    found = paired_ratio_interval([4, 6, 9], [1, 1, 1], [2, 3, 0], [1, 1, 0], rng=rng())
    assert (found.value, found.n) == (2, 2)
    assert found.note == (
        "1 prompts without a partner left out; two prompts: the interval covers below nominal"
    )


def test_prompts_without_steps_carry_no_information():
    with_empty = ratio_interval([30, 0, 26], [10, 0, 12], rng=rng())
    without = ratio_interval([30, 26], [10, 12], rng=rng())
    assert with_empty == without
    assert with_empty.n == 2


@pytest.mark.parametrize("method", METHODS)
def test_few_prompts_give_nan_bounds_and_not_certainty(method):
    none = ratio_interval([], [], rng=rng(), method=method)
    assert np.isnan(none.value)
    assert (none.n, none.note) == (0, "no prompt with data")
    one = ratio_interval([5], [2], rng=rng(), method=method)
    assert one.value == 2.5
    assert np.isnan([one.low, one.high]).all()
    assert "no interval from one prompt" in one.note


def test_an_undefined_statistic_is_undefined():
    found = sums_interval([[1.0, 0.0], [2.0, 0.0]], lambda s: s[..., 0] / s[..., 1], rng=rng())
    assert np.isnan(found.value)
    assert found.n == 0


def test_no_variation_is_a_point():
    found = ratio_interval([20, 40], [10, 20], rng=rng())
    assert found.low == pytest.approx(2)
    assert found.high == pytest.approx(2)


def test_a_prompt_that_holds_everything_leaves_hardly_an_interval():
    # One prompt of 1,000 steps beside two of 1: the spread is guessed from one deviation.
    found = ratio_interval([2400, 1, 4], [1000, 1, 1], rng=rng())
    assert found.df == 1
    even = ratio_interval([24, 10, 40], [10, 10, 10], rng=rng())
    assert even.df == pytest.approx(2)


@given(st.floats(1e-3, 1e3), st.integers(2, 30))
def test_units_do_not_matter(factor, n):
    tokens, steps = gamma_pairs(n)
    one = ratio_interval(tokens, steps, rng=rng())
    scaled = ratio_interval(tokens * factor, steps, rng=rng())
    assert (scaled.low, scaled.high) == pytest.approx((one.low * factor, one.high * factor))
    assert scaled.df == pytest.approx(one.df)


@given(st.randoms(use_true_random=False))
def test_the_order_of_prompts_does_not_matter(random):
    tokens, steps = gamma_pairs(20)
    order = list(range(20))
    random.shuffle(order)
    one = ratio_interval(tokens, steps, rng=rng())
    two = ratio_interval(tokens[order], steps[order], rng=rng())
    assert (two.low, two.high, two.df) == pytest.approx((one.low, one.high, one.df))


@pytest.mark.parametrize("method", METHODS)
def test_chance_comes_only_from_rng(method):
    tokens, steps = gamma_pairs(25)
    one, two = (ratio_interval(tokens, steps, rng=rng(7), method=method) for _ in range(2))
    assert one == two


def test_levels_nest():
    tokens, steps = gamma_pairs(25)
    wide = ratio_interval(tokens, steps, rng=rng(), confidence=0.99)
    narrow = ratio_interval(tokens, steps, rng=rng(), confidence=0.8)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert narrow.at(0.99) == wide


def test_at_refuses_a_level_that_is_none():
    with pytest.raises(CallError, match="not between 0 and 1"):
        Interval.from_pivot(1, 0.1, 5, 6).at(1.0)
    assert np.isnan(Interval(1.0, 0.9, 1.1, 10).at(0.99).low)


def test_impossible_sums_and_calls_are_refused():
    with pytest.raises(TraceError, match="prompt 1: a sum is nan"):
        ratio_interval([1, np.nan], [1, 1], rng=rng())
    with pytest.raises(TraceError, match="have shapes"):
        ratio_interval([1, 2], [1], rng=rng())
    with pytest.raises(TraceError, match="dimensions"):
        sums_interval([1, 2], lambda s: s[..., 0], rng=rng())
    with pytest.raises(CallError, match="unknown method 'bayes'"):
        ratio_interval([1, 2], [1, 1], rng=rng(), method="bayes")
    with pytest.raises(CallError, match="confidence"):
        ratio_interval([1, 2], [1, 1], rng=rng(), confidence=95)
    with pytest.raises(CallError, match="weights were given"):
        sums_interval([[1, 2], [2, 3]], lambda s: s[..., 0] / s[..., 1], rng=rng(), weights=[1])
