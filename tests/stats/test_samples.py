"""Sample sizes, against the noncentral t and against simulated tests."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from speedbench.errors import CallError
from speedbench.stats import (
    detectable_change,
    paired_ratio_interval,
    power_of_change,
    prompts_needed,
    ratio_spread,
    superiority,
)


@pytest.mark.parametrize("n", [10, 40, 200, 880])
@pytest.mark.parametrize("change", [-0.01, -0.02, -0.05, 0.03])
def test_power_is_that_of_the_noncentral_t(n, change):
    shift = abs(math.log1p(change)) * math.sqrt(n) / 0.2
    exact = reference.nct.sf(reference.t.ppf(0.95, n - 1), n - 1, shift)
    assert power_of_change(change, n, 0.2) == pytest.approx(exact, abs=0.003)


def test_the_three_questions_answer_each_other():
    n = prompts_needed(-0.02, 0.2, power=0.8)
    assert power_of_change(-0.02, n, 0.2) >= 0.8 > power_of_change(-0.02, n - 1, 0.2)
    assert detectable_change(n, 0.2, power=0.8) == pytest.approx(0.02, rel=0.01)
    assert prompts_needed(-0.02, 0.2, two_sided=True) > n


def test_the_planned_power_is_had():
    """Plan from one pilot, then test simulated runs of the planned size."""
    chance = np.random.default_rng(4)

    def pair(n, ratio):
        steps = np.ceil(chance.gamma(2, 30, n))
        old = steps * np.clip(chance.normal(2.4, 0.3, n), 1, 4)
        noise = np.exp(0.1 * chance.standard_normal(n) - 0.005)
        return old * ratio * noise, steps, old, steps

    spread = ratio_spread(*pair(2000, 1.0))
    n = prompts_needed(-0.03, spread, power=0.8)
    runs = 600
    seen = sum(
        superiority(paired_ratio_interval(*pair(n, 0.97), rng=chance), 1.0, "less").rejects(0.05)
        for _ in range(runs)
    )
    # Monte Carlo error 1.6 points, and the pilot adds its own.
    assert 0.74 <= seen / runs <= 0.87


def test_spread_needs_two_prompts():
    assert math.isnan(ratio_spread([5], [2]))


def test_nonsense_is_refused():
    for call in (
        lambda: power_of_change(0.0, 10, 0.2),
        lambda: power_of_change(-1.0, 10, 0.2),
        lambda: power_of_change(-0.02, 1, 0.2),
        lambda: power_of_change(-0.02, 10, math.nan),
        lambda: power_of_change(-0.02, 10, 0.2, level=5),
        lambda: prompts_needed(-0.02, 0.2, power=1.0),
        lambda: detectable_change(1, 0.2),
    ):
        with pytest.raises(CallError):
            call()
