"""The lower bound: never above the optimum, and as tight as its relaxation allows."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from speedbench.diversity import _bound, lower_bound, objective, select, unit_rows
from speedbench.errors import CallError, DataError


def optimum(pool, k):
    sets = itertools.combinations(range(len(pool)), k)
    return min(objective(pool[list(members)]) for members in sets)


@given(st.integers(2, 10), st.integers(1, 10), st.integers(1, 6), st.integers(0, 10_000))
def test_no_set_goes_below_it(n, k, dims, seed):
    pool = unit_rows(np.random.default_rng(seed).standard_normal((n, dims)) + 0.3)
    k = min(k, n)
    bound = lower_bound(pool, k)
    assert bound.converged
    assert bound.value <= min(optimum(pool, k), bound.relaxed) + 1e-9


@given(st.integers(0, 10_000), st.integers(1, 60))
def test_cut_short_or_begun_badly_it_is_still_a_bound(seed, max_steps):
    rng = np.random.default_rng(seed)
    pool = unit_rows(rng.standard_normal((9, 4)) + 0.3)
    start = rng.choice(9, 4, replace=False)
    bound = lower_bound(pool, 4, start=start, tolerance=1e-12, max_steps=max_steps)
    assert bound.n_steps == max_steps or bound.converged
    assert bound.value <= optimum(pool, 4) + 1e-9


def test_by_hand_of_orthogonal_vectors():
    # f(w) = Σ w² - k, least at w = k / n: k² / n - k.
    bound = lower_bound(np.eye(10), 4, tolerance=1e-9)
    assert bound.value == pytest.approx(16 / 10 - 4, abs=1e-6)
    assert bound.random_objective == 0.0
    assert np.isnan(bound.gap(0.0))
    assert np.isnan(bound.ratio_to_random(0.0))


def test_the_only_set_is_its_own_bound(make_pool):
    pool = make_pool(12)
    bound = lower_bound(pool, 12)
    assert bound.value == pytest.approx(objective(pool), abs=1e-8)
    assert bound.random_objective == pytest.approx(objective(pool), abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_relaxation_minimum_that_a_general_solver_finds(make_pool, seed):
    pool, k = make_pool(40, 6, seed=seed).astype(np.float64), 8
    lengths = np.square(pool).sum(axis=1)

    def relaxed(w):
        s = w @ pool
        return s @ s - w @ lengths, 2 * pool @ s - lengths

    reference = optimize.minimize(
        relaxed,
        np.full(40, k / 40),
        jac=True,
        bounds=[(0, 1)] * 40,
        constraints={"type": "eq", "fun": lambda w: w.sum() - k, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    bound = lower_bound(pool, k, tolerance=1e-7)
    assert bound.value == pytest.approx(reference.fun, abs=1e-4)
    assert bound.value <= reference.fun + 1e-9


def test_a_few_candidates_at_a_time_give_the_same_bound(make_pool, monkeypatch):
    pool = make_pool(2000, 24, seed=3, twice=200)
    whole = lower_bound(pool, 40)
    monkeypatch.setattr(_bound, "WORKING", 60)
    parts = lower_bound(pool, 40)
    assert parts.converged
    within = 5e-4 * whole.random_objective
    assert abs(parts.value - whole.value) <= 2 * within
    start = select(pool, 40, rng=np.random.default_rng(0)).chosen
    assert abs(lower_bound(pool, 40, start=start).value - whole.value) <= 2 * within


def test_gap_and_ratio_are_shares_of_the_random_draw(make_pool):
    pool = make_pool(200)
    bound = lower_bound(pool, 10)
    assert bound.gap(bound.value) == 0.0
    assert bound.gap(bound.value + 0.02 * bound.random_objective) == pytest.approx(0.02)
    assert bound.ratio_to_random(bound.random_objective) == 1.0
    sets = [np.random.default_rng(s).choice(200, 10, replace=False) for s in range(3000)]
    drawn = [objective(pool[members]) for members in sets]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert bound.random_objective == pytest.approx(np.mean(drawn), abs=4 * error)


def test_what_it_refuses(make_pool):
    pool = make_pool(10)
    with pytest.raises(CallError, match="sets of 0"):
        lower_bound(pool, 0)
    with pytest.raises(DataError, match="10 candidates are too few"):
        lower_bound(pool, 11)
    with pytest.raises(DataError, match="chosen twice"):
        lower_bound(pool, 3, start=[1, 1, 2])
    assert dataclasses.is_dataclass(lower_bound(pool, 3, start=[1]))


def projected(point, total):
    """Return the projection by trying every way of fixing entries at 0 and 1."""
    best, nearest = np.inf, None
    for fixed in itertools.product((0.0, 1.0, None), repeat=len(point)):
        free = [i for i, f in enumerate(fixed) if f is None]
        w = np.array([0.0 if f is None else f for f in fixed])
        left = total - w.sum()
        if free:
            w[free] = point[free] + (left - point[free].sum()) / len(free)
        elif abs(left) > 1e-12:
            continue
        if w.min() >= -1e-12 and w.max() <= 1 + 1e-12 and np.square(w - point).sum() < best:
            best, nearest = np.square(w - point).sum(), w
    return nearest


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.integers(1, 6))
def test_the_projection_is_the_nearest_point(point, total):
    total = min(total, len(point))
    found = _bound._onto_capped_simplex(np.array(point), float(total))
    assert found.sum() == pytest.approx(total, abs=1e-9)
    np.testing.assert_allclose(found, projected(np.array(point), total), atol=1e-7)
