"""Means and quantiles: exact binomial coverage, and clusters that must widen the interval."""

import numpy as np
import pytest
from scipy import stats as reference

from speedbench.errors import CallError, TraceError
from speedbench.stats import mean_interval, quantile_interval


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("n", "q"), [(20, 0.5), (100, 0.5), (100, 0.9), (500, 0.95), (500, 0.99)])
def test_order_statistics_have_the_coverage_of_their_binomial(n, q):
    # The ranks r, s of the bounds cover with P(r <= B <= s - 1), B binomial; by scipy's own cdf.
    found = quantile_interval(np.arange(1, n + 1), q, rng=rng())
    r, s = int(found.low), int(found.high)
    law = reference.binom(n, q)
    assert law.cdf(s - 1) - law.cdf(r - 1) >= 0.95
    # Neither bound can move in without losing its side's 2.5%.
    assert law.cdf(r) > 0.025
    assert law.sf(s - 2) > 0.025


def test_a_sample_too_small_to_bound_a_quantile_says_so():
    found = quantile_interval(np.arange(20), 0.99, rng=rng())
    assert np.isnan(found.high)
    assert not np.isnan(found.low)
    assert found.note == "20 values cannot bound it above"
    assert (
        quantile_interval([1, 2], 0.5, rng=rng()).note == "2 values cannot bound it on either side"
    )
    assert quantile_interval([1] * 20, 0.01, rng=rng()).note == "20 values cannot bound it below"


def clustered(chance, n, size, spread=0.5):
    """Return n clusters of values, normal with a true standard deviation of sqrt(spread² + 1/4)."""
    of = np.repeat(np.arange(n), size)
    return spread * chance.normal(size=n)[of] + 0.5 * chance.normal(size=n * size), of


@pytest.mark.parametrize(("n", "q"), [(10, 0.5), (40, 0.5), (40, 0.9), (88, 0.95)])
def test_quantiles_of_clusters_are_covered(n, q):
    # 500 runs: a Monte Carlo error of 1 point.
    chance, hits = rng(2), 0
    truth = reference.norm.ppf(q) * np.sqrt(0.5)
    for _ in range(500):
        values, of = clustered(chance, n, 9)
        found = quantile_interval(values, q, rng=chance, clusters=of)
        hits += not (found.low > truth or found.high < truth)
    assert found.n == n
    assert 0.92 <= hits / 500 <= 0.99


def test_clusters_widen_a_quantile():
    values, of = clustered(rng(3), 60, 9, spread=1.0)
    found = quantile_interval(values, 0.5, rng=rng(), clusters=of)
    naive = quantile_interval(values, 0.5, rng=rng())
    assert (found.high - found.low) > 1.5 * (naive.high - naive.low)


def test_few_clusters_do_not_bound_a_far_quantile():
    values, of = clustered(rng(4), 5, 20, spread=1.0)
    found = quantile_interval(values, 0.95, rng=rng(), clusters=of)
    assert np.isnan(found.high)
    assert not np.isnan(found.low)
    assert found.note == "5 clusters cannot bound it above"


def test_clusters_that_agree_are_no_certainty():
    # Each of 8 clusters has half of its values up to the median: bounds as for half of 8 trials.
    values = np.tile([1.0, 2.0, 3.0, 4.0], 8)
    found = quantile_interval(values, 0.5, rng=rng(), clusters=np.repeat(np.arange(8), 4))
    exact = reference.binomtest(4, 8).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx(
        (np.quantile(values, exact.low), np.quantile(values, exact.high))
    )


def test_one_cluster_has_no_interval():
    found = quantile_interval([1, 2, 3], 0.5, rng=rng(), clusters=[7, 7, 7])
    assert found.value == 2
    assert np.isnan(found.low)


def test_undefined_values_are_left_out_and_counted():
    found = quantile_interval([1, np.nan, 3], 0.5, rng=rng())
    assert (found.value, found.n) == (2, 2)
    assert found.note.startswith("1 undefined values left out")
    assert mean_interval([np.nan], rng=rng()).note == "1 undefined values left out"
    assert quantile_interval([], 0.5, rng=rng()).n == 0


def test_a_clustered_mean_counts_clusters():
    found = mean_interval([1, 3, 8, 8], rng=rng(), clusters=[4, 4, 9, 9])
    assert (found.value, found.n) == (5, 2)
    # Two cluster means, 2 and 8, of equal weight: half of a t interval with one degree of freedom.
    assert found.high == pytest.approx(5 + 3 * reference.t.ppf(0.975, 1))


def test_nonsense_is_refused():
    with pytest.raises(CallError, match="not between 0 and 1"):
        quantile_interval([1, 2], 95, rng=rng())
    with pytest.raises(TraceError, match="none infinite"):
        mean_interval([1, np.inf], rng=rng())
    with pytest.raises(TraceError, match="clusters were given"):
        mean_interval([1, 2], rng=rng(), clusters=[1])
