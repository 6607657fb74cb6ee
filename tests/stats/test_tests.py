"""Tests, corrections and products of estimates, against scipy and cases worked by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from speedbench.errors import CallError
from speedbench.stats import (
    Interval,
    adjusted_confidence,
    combine,
    difference_interval,
    holm,
    mean_interval,
    non_inferiority,
    superiority,
)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_a_paired_test_is_scipys(alternative):
    a, b = np.random.default_rng(1).normal(5, 2, (2, 15))
    one = np.ones(15)
    found = difference_interval(a, one, b, one, rng=np.random.default_rng(0))
    ours = superiority(found, 0.0, alternative).p_value
    assert ours == pytest.approx(reference.ttest_rel(a, b, alternative=alternative).pvalue)


def test_a_mean_against_a_number_is_scipys():
    a = np.random.default_rng(2).normal(5, 2, 15)
    found = mean_interval(a, rng=np.random.default_rng(0))
    assert superiority(found, 4.0).p_value == pytest.approx(
        reference.ttest_1samp(a, 4.0, alternative="greater").pvalue
    )


@given(st.floats(0.5, 2), st.floats(1e-3, 0.3), st.floats(2, 200))
def test_the_two_sided_test_and_the_interval_agree(value, se, df):
    found = Interval.from_pivot(value, se, df, 50)
    inside = found.low <= 1 <= found.high
    p = superiority(found, 1.0, "two-sided").p_value
    assert inside == (p >= 0.05) or math.isclose(p, 0.05, rel_tol=1e-6)


def test_an_undefined_interval_is_never_significant():
    test = superiority(Interval.undefined("no prompt"), 1.0)
    assert math.isnan(test.p_value)
    assert not test.rejects(0.05)
    assert test.note == "no prompt"


def test_no_spread_at_all():
    def p(value):
        return superiority(Interval.from_pivot(value, 0.0, 5, 6), 1.0).p_value

    assert (p(1.1), p(1.0), p(0.9)) == (0, 0.5, 1)


def test_non_inferiority_needs_less_than_superiority():
    found = Interval.from_pivot(0.995, 0.005, 300, 301)
    assert non_inferiority(found, 0.02).rejects(0.05)
    assert not superiority(found).rejects(0.05)
    difference = Interval.from_pivot(-0.01, 0.005, 300, 301, scale="linear")
    assert non_inferiority(difference, 0.05).rejects(0.05)
    assert not non_inferiority(difference, 0.01).rejects(0.05)
    for margin in (0.0, 1.0):
        with pytest.raises(CallError, match="margin"):
            non_inferiority(found, margin)


def test_holm_worked_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04, made monotone.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, np.nan, 0.9]), [1, np.nan, 1])
    assert holm([]).tolist() == []
    with pytest.raises(CallError, match=r"outside \[0, 1\]"):
        holm([1.2])


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_bonferroni(p):
    """A hypothesis falls iff every set that holds it falls by Bonferroni (Marcus et al. 1976)."""
    level = 0.05
    fallen = holm(p) <= level
    for i in range(len(p)):
        others = [j for j in range(len(p)) if j != i]
        sets = itertools.chain.from_iterable(
            itertools.combinations(others, size) for size in range(len(p))
        )
        closed = all(min(p[j] for j in (i, *more)) * (1 + len(more)) <= level for more in sets)
        assert fallen[i] == closed


def test_adjusted_confidence():
    assert adjusted_confidence(1) == 0.95
    assert adjusted_confidence(44) == pytest.approx(1 - 0.05 / 44)
    with pytest.raises(CallError, match="no comparison"):
        adjusted_confidence(0)


def test_a_product_of_estimates_covers_its_truth():
    chance, hits, runs = np.random.default_rng(9), 0, 2000
    for _ in range(runs):
        factors = []
        for centre, n in ((2.4, 40), (20.0, 8), (30.0, 8)):
            sample = centre * np.exp(0.1 * chance.standard_normal(n))
            logs = np.log(sample)
            se = float(logs.std(ddof=1) / np.sqrt(n))
            factors.append(Interval.from_pivot(float(np.exp(logs.mean())), se, n - 1, n))
        al, ar, sd = factors
        found = combine([(al, 1), (ar, 1), (sd, -1)])
        hits += found.low <= 2.4 * 20 / 30 <= found.high
    # Monte Carlo error 0.5 points.
    assert 0.935 <= hits / runs <= 0.97


def test_a_factor_that_brings_only_bounds():
    # 2 [1.8, 2.222..] and exact 3: the log bounds are 1.96 errors apart on each side.
    found = combine([(Interval(2.0, 1.8, 2.0 / 0.9, 50), 1), (Interval(3.0, 3.0, 3.0, 5), 1)])
    assert found.value == 6
    assert found.low == pytest.approx(5.4, rel=1e-3)
    assert found.n == 5


def test_a_factor_without_interval_or_value():
    blind = combine([(Interval(2.0, math.nan, math.nan, 1, note="one prompt"), 1)])
    assert blind.value == 2
    assert math.isnan(blind.low)
    assert "a factor has no interval" in blind.note
    assert combine([(Interval.undefined("nothing"), 1)]).note == "nothing"
    assert combine([]).n == 0
