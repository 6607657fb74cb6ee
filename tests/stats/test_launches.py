"""Launches crossed with prompts: simulations whose truth and whose chance are known."""

import numpy as np
import pytest

from speedbench.errors import CallError, TraceError
from speedbench.stats import (
    launches_interval,
    paired_launches_ratio_interval,
    paired_ratio_interval,
    ratio_interval,
)


def arms(chance, launches, prompts, launch_spread, cell_spread=0.03):
    """Return sums of two engines with a true ratio of 1.5; every prompt costs its own."""
    tokens = np.rint(np.clip(np.exp(4 + 0.5 * chance.standard_normal(prompts)), 1, 256))
    cost = np.exp(0.3 * chance.standard_normal(prompts))

    def arm(seconds):
        effect = np.exp(launch_spread * chance.standard_normal((launches, 1)))
        cell = np.exp(cell_spread * chance.standard_normal((launches, prompts)))
        return seconds * tokens * cost * effect * cell, np.tile(tokens, (launches, 1))

    return (*arm(0.030), *arm(0.020))


def coverage(method, launches, launch_spread, runs=400):
    chance = np.random.default_rng(launches)
    hits = 0
    for _ in range(runs):
        found = paired_launches_ratio_interval(
            *arms(chance, launches, 40, launch_spread),
            rng=chance,
            method=method,
            n_resamples=300,
        )
        hits += found.low <= 1.5 <= found.high
    return hits / runs


@pytest.mark.parametrize("launches", [2, 3, 5])
def test_the_interval_covers_when_launches_differ(launches):
    # 400 runs: a Monte Carlo error of 1.1 points.
    assert 0.915 <= coverage("auto", launches, 0.03) <= 0.985


def test_resampling_three_launches_is_too_narrow():
    assert coverage("pigeonhole", 3, 0.03) < 0.9


def test_launches_without_an_effect_cost_little():
    chance = np.random.default_rng(0)
    n = {"crossed": 0.0, "prompts": 0.0}
    for _ in range(50):
        a, na, b, nb = arms(chance, 3, 80, 0.0)
        n["crossed"] += paired_launches_ratio_interval(a, na, b, nb, rng=chance).se
        pooled = [x.sum(axis=0) for x in (a, na, b, nb)]
        n["prompts"] += paired_ratio_interval(*pooled, rng=chance).se
    assert 1 <= n["crossed"] / n["prompts"] < 1.4


def test_one_launch_says_what_it_lacks():
    chance = np.random.default_rng(0)
    sums = arms(chance, 1, 20, 0.03)
    found = paired_launches_ratio_interval(*sums, rng=chance)
    alone = paired_ratio_interval(*(s[0] for s in sums), rng=chance)
    assert (found.low, found.high) == (alone.low, alone.high)
    assert found.note == "one launch: no between-launch variation is in it"
    single = launches_interval(sums[0], sums[1], rng=chance)
    assert single.note == "one launch: no between-launch variation is in it"
    assert single.value == ratio_interval(sums[0][0], sums[1][0], rng=chance).value


def test_one_launch_on_one_side_says_so_too():
    chance = np.random.default_rng(0)
    a, na, b, nb = arms(chance, 3, 20, 0.03)
    found = paired_launches_ratio_interval(a, na, b[:1], nb[:1], rng=chance)
    assert "3 and 1 launches" in found.note
    assert "one launch on one side" in found.note


def test_the_value_is_the_ratio_of_pooled_ratios_and_n_counts_prompts():
    # 24 s / 8 tokens against 8 s / 8 tokens.
    found = paired_launches_ratio_interval(
        [[4, 8], [4, 8]], [[2, 2], [2, 2]], [[1, 3], [2, 2]], [[2, 2], [2, 2]],
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert found.value == 3
    assert found.n == 2


def test_a_failed_request_leaves_its_cell_empty_and_a_missing_prompt_leaves_the_pair():
    a = [[4.0, 6.0, 5.0], [0.0, 6.0, 5.0]]
    na = [[1, 1, 1], [0, 1, 1]]
    b, nb = [[2.0, 3.0, 0.0]] * 2, [[1, 1, 0]] * 2
    found = paired_launches_ratio_interval(a, na, b, nb, rng=np.random.default_rng(0))
    assert found.n == 2
    assert "1 prompts without a partner left out" in found.note
    assert found.value == pytest.approx((16 / 3) / (10 / 4))


def test_too_little_is_nan():
    one = paired_launches_ratio_interval(
        [[4], [5]], [[1], [1]], [[2], [2]], [[1], [1]], rng=np.random.default_rng(0)
    )
    assert np.isnan(one.low)
    none = launches_interval([[0, 0]] * 2, [[0, 0]] * 2, rng=np.random.default_rng(0))
    assert np.isnan(none.value)
    assert none.n == 0


def test_impossible_sums_are_refused():
    chance = np.random.default_rng(0)
    with pytest.raises(TraceError, match="launch 1, prompt 0: a sum is not a finite number"):
        launches_interval([[1, 1], [np.nan, 1]], [[1, 1], [1, 1]], rng=chance)
    with pytest.raises(TraceError, match="launches x prompts"):
        launches_interval([1, 1], [1, 1], rng=chance)
    with pytest.raises(TraceError, match="2 prompts on one side and 1 on the other"):
        paired_launches_ratio_interval([[1, 1]], [[1, 1]], [[1]], [[1]], rng=chance)
    with pytest.raises(CallError, match="unknown method"):
        launches_interval([[1, 1]] * 2, [[1, 1]] * 2, rng=chance, method="owl")
