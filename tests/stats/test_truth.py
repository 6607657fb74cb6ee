"""The estimators against exact truth over simulated runs; benchmarks/estimators.py does more."""

import numpy as np
import pytest
from estimators_alarms import pairs
from estimators_cost import by_columns, by_loop, make_columns
from estimators_simulation import World, draw_prompts, make_world, simulate, truth
from estimators_truth import run_many, steps_of

from speedbench.acceptance import (
    al_at_full_draft_length,
    al_per_request,
    al_per_step,
    conditional_rates,
)

RUNS = 400
SEED = 41


def test_of_one_kind_of_prompt_the_true_rates_are_its_rates():
    # Censoring by the end of a response must not move them, however short responses are.
    world = make_world(n_types=2)
    one = World(
        world.rates[:1], world.draft_lengths, world.draft_shares, world.lengths[:1], world.t_sd_s
    )
    np.testing.assert_allclose(truth(one).rates, world.rates[0], rtol=1e-12)


def test_truth_of_a_world_small_enough_to_work_by_hand():
    # γ = 1, rate 1/2, every response 2 decode tokens.  The draft is accepted in half the cases:
    # one step of 2 tokens; else a rejection, then a step cut or finished at 1 token: two steps.
    world = World(
        np.array([[0.5]]), np.array([1]), np.array([1.0]), np.array([[0.0, 0.0, 1.0]]), 0.03
    )
    found = truth(world)
    assert found.al_per_step == pytest.approx(2 / 1.5)
    assert found.al_per_request == pytest.approx((2 + 1) / 2)
    assert found.rates[0] == pytest.approx(0.5)


@pytest.mark.parametrize("varying", [True, False])
def test_a_large_run_tends_to_the_truth(varying):
    world = make_world(varying=varying)
    true = truth(world)
    rng = np.random.default_rng(SEED)
    kinds, tokens = draw_prompts(world, 60_000, rng)
    steps = steps_of(simulate(world, kinds, tokens, rng))
    assert al_per_step(steps).value == pytest.approx(true.al_per_step, rel=0.01)
    assert al_per_request(steps).value == pytest.approx(true.al_per_request, rel=0.01)
    np.testing.assert_allclose(conditional_rates(steps).values, true.rates, rtol=0.015)
    assert al_at_full_draft_length(steps).value == pytest.approx(true.al_eq1, rel=0.01)


@pytest.fixture(scope="module")
def tallies():
    world = make_world()
    return run_many(world, truth(world), 400, RUNS, SEED)


def test_no_estimate_is_biased(tallies):
    ours, _ = tallies
    assert {t.name for t in ours} >= {"AR_1", "AR_4", "AL per step", "AL per request", "speedup"}
    for tally in ours:
        # 4 rather than 3 Monte Carlo errors: eight figures are looked at, in every build.
        assert abs(tally.bias) <= max(0.002, 4 * tally.mc_error), tally.name


def test_intervals_cover_at_their_stated_rate(tallies):
    ours, _ = tallies
    for tally in ours:
        # 93 to 97%, and 2.5 Monte Carlo errors of 1.1 points.
        assert 0.903 <= tally.coverage <= 0.997, tally.name


def test_the_naive_estimators_are_biased(tallies):
    _, naive = tallies
    off = {t.name: t.bias for t in naive}
    assert off["AL per step: chunk mean, prefill chunk in"] < -0.01
    assert off["AL per step: mean over requests"] > 0.05
    assert off["AR_1: survival over observed lengths"] < -0.10
    assert off["AR_3: survival over observed lengths"] < -0.25


@pytest.mark.parametrize(("n", "low"), [(8, 0.91), (80, 0.91)])
def test_small_samples_cover_where_plain_bca_does_not(n, low):
    world = make_world()
    true = truth(world)
    ours, _ = run_many(world, true, n, RUNS, SEED + n)
    bca, _ = run_many(world, true, n, 150, SEED + n, method="bca")
    assert min(t.coverage for t in ours) >= low
    assert np.mean([t.coverage for t in bca]) < np.mean([t.coverage for t in ours])


def test_identical_pairs_rarely_alarm():
    world = make_world()
    found = pairs(world, world, 220, 300, SEED)
    # 5%, and 2.5 Monte Carlo errors of 1.3 points.
    assert 0.02 <= found.fired <= 0.082
    assert found.fired_any_category <= 0.082
    assert found.mean_ratio == pytest.approx(1, abs=0.004)


def test_the_columns_agree_with_a_plain_loop():
    columns = make_columns(20_000)
    ours, theirs = by_columns(columns), by_loop(columns)
    np.testing.assert_allclose([*ours[:5], *ours[6:8]], theirs, rtol=1e-12)
