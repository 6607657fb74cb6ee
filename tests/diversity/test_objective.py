"""Sums of similarities against loops over pairs, and what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.diversity import mean_similarity, objective, select, similarity_sums, unit_rows
from speedbench.errors import CallError, DataError


def by_pairs(rows):
    table = rows.astype(np.float64)
    return sum(float(a @ b) for a, b in itertools.permutations(table, 2))


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 1000), st.booleans())
def test_sums_of_sums_are_sums_over_pairs(n, dims, seed, single):
    drawn = np.random.default_rng(seed).standard_normal((n, dims))
    rows = unit_rows(drawn, out=np.empty((n, dims), np.float32 if single else np.float64))
    expected = by_pairs(rows)
    assert objective(rows) == pytest.approx(expected, abs=1e-10)
    assert similarity_sums(rows).sum() == pytest.approx(expected, abs=1e-10)
    if n > 1:
        assert mean_similarity(rows) == pytest.approx(expected / (n * (n - 1)), abs=1e-12)


def test_by_hand():
    # x, y and -x: the pairs are 0, -1 and 0, each counted twice.
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert objective(rows) == -2.0
    assert mean_similarity(rows) == pytest.approx(-1 / 3)
    assert similarity_sums(rows).tolist() == [-1.0, 0.0, -1.0]


def test_one_row_has_no_pair():
    assert objective([[0.0, 1.0]]) == 0.0
    assert np.isnan(mean_similarity([[0.0, 1.0]]))


def test_float32_that_is_a_little_off_unit_length_still_counts_only_pairs():
    # 300,000 copies in float32: k in place of the squared lengths would be off by several units.
    rows = np.repeat(unit_rows([[0.3, 0.7, 0.2]]), 300_000, axis=0)
    n, one = len(rows), float(rows[0].astype(np.float64) @ rows[0].astype(np.float64))
    assert objective(rows) == pytest.approx(n * (n - 1) * one, rel=1e-12)


def test_unit_rows_scale_what_would_overflow_or_vanish():
    rows = unit_rows(np.array([[3e200, 4e200], [3e-200, 4e-200]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_unit_rows_in_place_leave_no_copy():
    table = np.array([[3.0, 4.0], [0.0, 2.0]], np.float32)
    assert unit_rows(table, out=table) is table
    np.testing.assert_allclose(table, [[0.6, 0.8], [0.0, 1.0]], rtol=1e-7)
    with pytest.raises(CallError, match=r"shape \(3, 2\)"):
        unit_rows(table, out=np.empty((3, 2), np.float32))


@pytest.mark.parametrize(
    ("bad", "why"),
    [(np.nan, "holds NaN or infinity"), (np.inf, "holds NaN or infinity"), (0.0, "is zero")],
)
def test_a_vector_without_direction_is_named(make_pool, bad, why):
    pool = make_pool(20)
    pool[13] = bad
    pool[17] = bad
    with pytest.raises(DataError, match=f"^vector 13 .and 1 more. {why}"):
        unit_rows(pool)
    with pytest.raises(DataError, match=r"^vector p13 "):
        unit_rows(pool, names=[f"p{i}" for i in range(20)])
    for call in (
        objective,
        similarity_sums,
        lambda rows: select(rows, 3, rng=np.random.default_rng(0)),
    ):
        with pytest.raises(DataError, match=f"^vector 13 .and 1 more. {why}"):
            call(pool)


def test_a_vector_that_is_not_of_unit_length_is_named():
    with pytest.raises(DataError, match=r"^vector 1 is not of unit length: call unit_rows first"):
        objective([[1.0, 0.0], [3.0, 4.0]])


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((2, 0)), [["a", "b"]], np.ones((2, 2, 2))])
def test_what_is_no_table_of_numbers_is_refused(bad):
    with pytest.raises(DataError, match="one row for each candidate"):
        objective(bad)


def test_a_vector_of_another_length_is_named():
    with pytest.raises(DataError, match=r"^vector 2 has 3 dimensions, and vector 0 has 2: all"):
        objective([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0, 0.0]])


def test_half_precision_is_near_enough_to_unit_length(make_pool):
    rows = make_pool(40, 3072).astype(np.float16)
    assert objective(rows) == pytest.approx(by_pairs(rows), rel=1e-6)
