"""Nearest pairs, the order of a matrix, and a map."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.diversity import (
    _pictures,
    flat_map,
    nearest_pairs,
    ordered_matrix,
    select,
    unit_rows,
)
from speedbench.errors import CallError


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 1000))
def test_nearest_pairs_are_those_of_the_whole_matrix(n, m, seed):
    rng = np.random.default_rng(seed)
    # Multiples of 1/5, many of them equal, so that ties are exact.
    table = np.array([[0.6, 0.8], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])[rng.integers(0, 4, n)]
    every = sorted(
        (-round(float(table[i] @ table[j]), 12), i, j) for i in range(n) for j in range(i + 1, n)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pictures, "TILE", 7)
        found = nearest_pairs(table, m)
    assert [(-round(p.similarity, 12), p.first, p.second) for p in found] == every[:m]


def test_a_duplicate_is_the_nearest_pair_of_all(make_pool):
    pool = make_pool(3000, 16, twice=1)
    best, second = nearest_pairs(pool, 2)
    assert (best.first, best.second) == (0, 2999)
    assert best.similarity == pytest.approx(1.0, abs=1e-6)
    assert nearest_pairs(pool, 50, at_least=(best.similarity + second.similarity) / 2) == [best]
    with pytest.raises(CallError, match="0 nearest pairs"):
        nearest_pairs(pool, 0)


def test_rows_of_a_group_lie_beside_each_other_in_the_matrix():
    rng = np.random.default_rng(3)
    group = np.tile(np.arange(4), 10)
    table = np.eye(4, 12)[group] + 0.05 * rng.standard_normal((40, 12))
    pool = unit_rows(table, out=table)
    found = ordered_matrix(pool)
    assert sorted(found.order) == list(range(40))
    assert np.count_nonzero(np.diff(group[found.order])) == 3
    np.testing.assert_allclose(found.similarities, pool[found.order] @ pool[found.order].T)
    np.testing.assert_array_equal(ordered_matrix(pool).order, found.order)


def test_rows_along_an_arc_stay_in_the_order_of_the_arc():
    angle = np.linspace(0.0, 1.5, 31)
    shuffled = np.random.default_rng(4).permutation(31)
    pool = np.stack([np.cos(angle), np.sin(angle)], axis=1)[shuffled]
    found = shuffled[ordered_matrix(pool).order]
    assert found.tolist() in (list(range(31)), list(range(30, -1, -1)))


def test_few_rows_and_too_many(make_pool):
    assert ordered_matrix(make_pool(1)).order.tolist() == [0]
    assert ordered_matrix(make_pool(2)).order.tolist() == [0, 1]
    with pytest.raises(CallError, match="2001 prompts is no picture"):
        ordered_matrix(make_pool(2001))


@pytest.mark.parametrize(("n", "dims"), [(30, 50), (50, 30), (30, 30)])
def test_the_map_keeps_the_distances_it_can(make_pool, n, dims):
    pool = make_pool(n, dims, dtype=np.float64)
    found = flat_map(pool)
    u, s, _ = np.linalg.svd(pool - pool.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.points), np.abs(u[:, :2] * s[:2]), atol=1e-9)
    np.testing.assert_allclose(found.explained, s[:2] ** 2 / (s**2).sum(), atol=1e-9)
    for column in found.points.T:
        assert column[np.argmax(np.abs(column))] > 0


def test_the_map_of_points_in_a_plane_is_the_plane(make_pool):
    flat = make_pool(20, 2, dtype=np.float64)
    turned = flat @ np.linalg.qr(np.random.default_rng(0).standard_normal((9, 9)))[0][:2]
    found = flat_map(unit_rows(turned, out=turned))
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(found.points[:, None] - found.points[None], axis=2), apart, atol=1e-9
    )
    assert sum(found.explained) == pytest.approx(1.0)


def test_the_map_of_one_point_or_of_equal_points():
    for n in (1, 3):
        found = flat_map(np.repeat([[0.6, 0.8, 0.0]], n, axis=0))
        np.testing.assert_allclose(found.points, 0.0, atol=1e-12)
        assert np.isnan(found.explained).all()


def test_a_selection_spreads_over_the_map(make_pool):
    pool = make_pool(500, 6, seed=4)
    points = flat_map(pool).points
    chosen = points[list(select(pool, 20, rng=np.random.default_rng(0)).chosen)]
    assert chosen.std(axis=0).sum() > points.std(axis=0).sum()
