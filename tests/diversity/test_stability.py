"""Redraws from pools whose acceptance is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from speedbench.diversity import (
    kendall_distance,
    range_share,
    selected_draw,
    stability,
    uniform_draw,
    unit_rows,
)
from speedbench.errors import CallError, DataError


def given_sets(*sets):
    """Return a draw that hands out these sets one after another."""
    left = iter(sets)
    return lambda rows, rng: np.array(next(left))


def test_by_hand():
    # Of each redraw first the set of "code", then that of "qa".
    tokens, steps = [30, 20, 40, 10, 20, 30], [10, 10, 10, 10, 10, 10]
    categories = ["code", "code", "code", "qa", "qa", "qa"]
    draw = given_sets([0, 1], [3, 4], [1, 2], [4, 5], [0, 1], [5])
    found = stability(tokens, steps, categories, draw, rng=np.random.default_rng(0), n_redraws=3)
    assert found.categories == ("code", "qa")
    np.testing.assert_allclose(found.pool, [3.0, 2.0])
    np.testing.assert_allclose(found.redrawn, [[2.5, 1.5], [3.0, 2.5], [2.5, 3.0]])
    np.testing.assert_allclose(found.range_shares, [0.5 / (8 / 3), 1.5 / (7 / 3)])
    np.testing.assert_allclose(found.offsets, [8 / 9 - 1, 7 / 6 - 1])
    np.testing.assert_allclose(found.distances_to_pool, [0, 0, 1])
    np.testing.assert_allclose(found.distances_between, [0, 1, 1])


def test_pooled_and_per_prompt_are_told_apart():
    draw = given_sets([0, 1], [0, 1], [0, 1], [0, 1])
    arguments = ([10, 90], [10, 30], ["qa", "qa"], draw)
    options = {"rng": np.random.default_rng(0), "n_redraws": 2}
    assert stability(*arguments, **options).pool.tolist() == [2.5]
    assert stability(*arguments, **options, pooled=False).pool.tolist() == [2.0]


def test_a_category_without_steps_is_nan_and_in_no_ranking():
    found = stability(
        [3, 2, 0],
        [1, 1, 0],
        ["a", "b", "c"],
        uniform_draw(1),
        rng=np.random.default_rng(0),
        n_redraws=3,
    )
    assert np.isnan(found.pool[2])
    assert np.isnan(found.range_shares[2])
    assert found.range_shares[:2].tolist() == [0.0, 0.0]
    assert found.distances_to_pool.tolist() == [0.0] * 3


def test_a_set_spread_over_the_topics_says_the_same_each_time_and_the_same_as_the_topics():
    # AL depends on the topic, nine in ten prompts are of one topic of twenty.
    rng = np.random.default_rng(5)
    topic = np.where(rng.random(1500) < 0.9, 0, rng.integers(1, 20, 1500))
    table = np.eye(20, 40)[topic] + 0.02 * rng.standard_normal((1500, 40))
    pool = unit_rows(table, out=table)
    al_of_topic = rng.uniform(1.5, 4.0, 20)
    steps = rng.integers(50, 60, 1500)
    arguments = (al_of_topic[topic] * steps, steps, ["qa"] * 1500)
    uniform = stability(*arguments, uniform_draw(40), rng=np.random.default_rng(1))
    selected = stability(*arguments, selected_draw(pool, 40), rng=np.random.default_rng(1))
    assert selected.range_shares[0] < uniform.range_shares[0] / 3
    # Two of each topic: stable, and another mean than the pool's, which says mostly topic 0.
    assert selected.redrawn.mean() == pytest.approx(al_of_topic.mean(), rel=0.02)
    assert abs(uniform.offsets[0]) < 0.05 < abs(selected.offsets[0])


def test_range_of_uniform_draws_is_that_of_normal_theory():
    # Ten means of 50 prompts each: the expected range is 3.078 standard errors (Tippett 1925).
    rng = np.random.default_rng(8)
    n, n_categories = 4000, 40
    categories = np.repeat([f"c{i:02}" for i in range(n_categories)], n)
    steps = np.full(n * n_categories, 100)
    al = 2.5 + 0.4 * rng.standard_normal(n * n_categories)
    found = stability(al * steps, steps, categories, uniform_draw(50), rng=rng, n_redraws=10)
    expected = 3.078 * 0.4 / np.sqrt(50) / 2.5
    assert found.range_shares.mean() == pytest.approx(expected, rel=0.1)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12))
def test_kendall_distance_by_pairs(values):
    a, b = np.array(values, float).T
    pairs = list(itertools.combinations(range(len(a)), 2))
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in pairs]
    cost = [1.0 if x * y < 0 else 0.5 if x != y else 0.0 for x, y in signs]
    assert kendall_distance(a, b) == pytest.approx(np.mean(cost))
    if len(set(a)) == len(a) and len(set(b)) == len(b):
        tau = stats.kendalltau(a, b).statistic
        assert kendall_distance(a, b) == pytest.approx((1 - tau) / 2)


def test_a_swap_of_two_neighbours_among_eleven_is_the_papers_smallest_distance():
    # Table 7: the largest distance at draft length 7 is 0.018 = 1/55.
    ranking = np.arange(11.0)
    other = ranking.copy()
    other[[3, 4]] = other[[4, 3]]
    assert round(kendall_distance(ranking, other), 3) == 0.018


def test_nothing_to_rank():
    assert np.isnan(kendall_distance([1.0, np.nan], [1.0, 2.0]))
    assert np.isnan(range_share([1.0, np.nan]))
    with pytest.raises(CallError, match="cannot be compared"):
        kendall_distance([1.0, 2.0], [1.0])


def test_what_it_refuses(make_pool):
    rng = np.random.default_rng(0)

    def calls(tokens, steps, categories, draw=None, **options):
        return stability(tokens, steps, categories, draw or uniform_draw(1), rng=rng, **options)

    with pytest.raises(DataError, match="shapes"):
        calls([1, 2], [1], ["a", "b"])
    with pytest.raises(DataError, match="prompt 1: nan tokens in 1 steps"):
        calls([1, np.nan], [1, 1], ["a", "b"])
    with pytest.raises(CallError, match="1 redraws show no range"):
        calls([1, 2], [1, 1], ["a", "b"], n_redraws=1)
    with pytest.raises(DataError, match="2 prompts were to be drawn from a category of 1"):
        calls([1, 2], [1, 1], ["a", "b"], uniform_draw(2))
    with pytest.raises(DataError, match="1 candidates are too few"):
        calls([1, 2], [1, 1], ["a", "b"], selected_draw(make_pool(2), 2))
