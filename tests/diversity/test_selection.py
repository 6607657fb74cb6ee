"""The search against the paper's algorithm with all pairs in a matrix."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_naive import naive_selection

from speedbench.diversity import (
    Quota,
    _search,
    _vectors,
    check_swaps,
    objective,
    select,
    select_from_starts,
    unit_rows,
)
from speedbench.diversity._quotas import Cells
from speedbench.errors import CallError, DataError


def chosen_by_both(pool, k, seed=0):
    found = select(pool, k, rng=np.random.default_rng(seed))
    first = int(np.random.default_rng(seed).integers(len(pool)))
    return found, naive_selection(pool, k, first)


def same(found, naive):
    chosen, n_swaps, value = naive
    assert list(found.chosen) == chosen
    assert found.n_swaps == n_swaps
    assert found.objective == pytest.approx(value, abs=1e-9)
    assert found.certificate is not None
    assert found.certificate.swap_optimal


@given(
    st.integers(2, 60),
    st.integers(1, 60),
    st.integers(2, 10),
    st.integers(0, 10_000),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
)
def test_sets_and_objective_are_those_of_the_matrix(n, k, dims, seed, dtype, twice):
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((n, dims)) + rng.standard_normal(dims)
    if twice:
        table = table[rng.integers(0, n, n)]
    pool = unit_rows(table, out=np.empty((n, dims), dtype))
    same(*chosen_by_both(pool, min(k, n), seed))


@pytest.mark.parametrize("seed", range(4))
def test_a_pool_large_enough_for_bounds_to_leave_candidates_out(make_pool, seed, monkeypatch):
    monkeypatch.setattr(_search, "FIRST_LOOK", 64)
    monkeypatch.setattr(_search, "PART", 100)
    monkeypatch.setattr(_vectors, "BLOCK_BYTES", 8 * 24 * 90)
    found, naive = chosen_by_both(make_pool(3000, 24, seed=seed, twice=300), 40, seed)
    assert found.n_swaps > 0
    same(found, naive)


def test_equal_candidates_go_by_index():
    # Two of each axis: whatever comes first, its twin is the worst choice, and rows 0 and 1 win.
    pool = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    for seed in range(8):
        found = select(pool, 2, rng=np.random.default_rng(seed))
        first = found.chosen[0]
        assert found.chosen[1] == (1 if first in (0, 2) else 0)
        assert found.objective == 0.0
    assert select(np.repeat(pool[:1], 6, axis=0), 3, rng=np.random.default_rng(2)).chosen[1:] == (
        (0, 1) if np.random.default_rng(2).integers(6) > 1 else (0, 2)
    )


def test_nothing_to_choose(make_pool):
    pool = make_pool(7)
    found = select(pool, 7, rng=np.random.default_rng(0))
    assert sorted(found.chosen) == list(range(7))
    assert found.objective == pytest.approx(objective(pool))
    assert found.certificate is not None
    assert found.certificate.swap_optimal
    assert found.certificate.n_swaps_tried == 0
    assert np.isnan(found.certificate.best_change)


def test_one_of_many_is_the_first_draw(make_pool):
    found = select(make_pool(50), 1, rng=np.random.default_rng(5))
    assert found.chosen == (int(np.random.default_rng(5).integers(50)),)
    assert (found.n_swaps, found.objective) == (0, pytest.approx(0.0, abs=1e-12))
    assert np.isnan(found.mean_similarity)


def test_the_answer_does_not_depend_on_how_the_pool_is_stored(make_pool, tmp_path):
    pool = make_pool(400, 16)
    expected = select(pool, 20, rng=np.random.default_rng(1))
    np.save(tmp_path / "pool.npy", pool)
    wide = np.zeros((400, 32), np.float32)
    wide[:, ::2] = pool
    for stored in (
        np.load(tmp_path / "pool.npy", mmap_mode="r"),
        np.asfortranarray(pool),
        wide[:, ::2],
        pool.astype(np.float64),
        pool.tolist(),
    ):
        assert select(stored, 20, rng=np.random.default_rng(1)).chosen == expected.chosen


def test_the_pool_is_left_as_it_was(make_pool):
    pool = make_pool(60)
    before = pool.copy()
    pool.setflags(write=False)
    select(pool, 10, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(pool, before)


def test_resumed_anywhere_it_ends_as_if_never_interrupted(make_pool):
    pool, states = make_pool(500, 12, seed=3), []
    whole = select(pool, 25, rng=np.random.default_rng(4), progress=states.append)
    assert whole.n_swaps >= 2
    assert [len(state.chosen) for state in states[:25]] == list(range(1, 26))
    assert states[-1] == whole
    assert all(s.certificate is None for s in states[:-1])
    values = [s.objective for s in states[24:]]
    assert values == sorted(values, reverse=True)
    for state in states:
        # Another generator: after the first member nothing is drawn.
        again = select(pool, 25, rng=np.random.default_rng(99), resume=state)
        assert again == whole


def test_a_limit_of_exchanges_leaves_something_to_resume(make_pool):
    pool = make_pool(500, 12, seed=3)
    whole = select(pool, 25, rng=np.random.default_rng(4))
    part = select(pool, 25, rng=np.random.default_rng(4), max_swaps=1)
    assert (part.n_swaps, part.certificate) == (1, None)
    assert select(pool, 25, rng=np.random.default_rng(0), resume=part) == whole


def test_a_state_of_another_call_is_refused(make_pool):
    pool = make_pool(50)
    state = select(pool, 5, rng=np.random.default_rng(0))
    for bad, why in [
        (dataclasses.replace(state, k=6), "is 6 of 50 candidates, and this call is for 5 of 50"),
        (dataclasses.replace(state, n_candidates=49), "is 5 of 49"),
        (dataclasses.replace(state, chosen=(1, 2, 2)), "candidate 2 was chosen twice"),
        (dataclasses.replace(state, chosen=(1, 50)), "candidate 50 was chosen, and the pool ends"),
    ]:
        with pytest.raises(DataError, match=why):
            select(pool, 5, rng=np.random.default_rng(0), resume=bad)


def test_too_few_candidates(make_pool):
    with pytest.raises(DataError, match=r"^9 candidates are too few: at least 10 are needed"):
        select(make_pool(9), 10, rng=np.random.default_rng(0))
    with pytest.raises(CallError, match="a set of 0 prompts"):
        select(make_pool(9), 0, rng=np.random.default_rng(0))


def test_more_starts_are_no_worse_and_begin_with_the_single_one(make_pool):
    pool = make_pool(200, 10, seed=8)
    one = select(pool, 12, rng=np.random.default_rng(6))
    found = select_from_starts(pool, 12, 6, rng=np.random.default_rng(6))
    assert found.objectives[0] == one.objective
    assert found.best.objective == min(found.objectives)
    assert len(set(found.objectives)) > 1
    with pytest.raises(CallError, match="0 starts"):
        select_from_starts(pool, 12, 0, rng=np.random.default_rng(6))


def starting_at(row, n):
    """Return a generator whose first draw of n is this row."""
    seed = next(s for s in range(1000) if np.random.default_rng(s).integers(n) == row)
    return np.random.default_rng(seed)


def beside_two_axes(*cosines):
    """Return the first two axes and unit vectors with these cosines to them."""
    rows = [[a, b, np.sqrt(1 - a * a - b * b)] for a, b in cosines]
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], *rows])


def test_rounding_of_single_precision_decides_nothing():
    # In float32 the cosines of row 2 round up by 2.9e-8 in all and those of row 3 down by 5.8e-8,
    # so row 3 seems the better one; truly row 2 is, by 2.7e-8.
    pool = beside_two_axes((0.5 + 3.1e-8, 0.5), (0.5 + 2.9e-8, 0.5 + 2.9e-8))
    rounded = pool[:, :2].astype(np.float32).astype(np.float64).sum(axis=1)
    assert rounded[3] < rounded[2]
    greedy = select(pool, 3, rng=starting_at(0, 4), max_swaps=0)
    assert greedy.chosen == (0, 1, 2)
    started = dataclasses.replace(greedy, chosen=(0, 1, 3), objective=0.0)
    swapped = select(pool, 3, rng=starting_at(0, 4), resume=started, max_swaps=1)
    assert swapped.chosen == (0, 1, 2)


def test_what_differs_by_less_than_a_tie_goes_by_index():
    pool = beside_two_axes((0.5, 0.5), (0.5, 0.5 - 1e-11), (0.7, 0.7))
    greedy = select(pool, 3, rng=starting_at(0, 5), max_swaps=0)
    assert greedy.chosen == (0, 1, 2)
    assert check_swaps(pool, [0, 1, 2]).swap_optimal
    found = check_swaps(pool, [0, 1, 4]).best
    assert found is not None
    assert (found.out, found.into) == (4, 2)


def test_of_two_equal_members_the_one_with_the_lower_index_leaves():
    pool = np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    found = check_swaps(pool, [3, 1]).best
    assert found is not None
    assert (found.out, found.into) == (1, 0)


@pytest.mark.parametrize("bounds", [{}, {0: 5, 1: (5, 6), 2: (0, 8)}])
def test_each_exchange_is_the_best_of_all(make_pool, monkeypatch, bounds):
    monkeypatch.setattr(_search, "FIRST_LOOK", 40)
    pool, states = make_pool(600, 10, seed=11, twice=60), []
    quotas = [Quota.of("source", np.arange(600) // 200, bounds)]
    greedy = select(pool, 16, rng=np.random.default_rng(1), quotas=quotas, max_swaps=0)
    worst = (greedy.chosen[0] + 1, *greedy.chosen[1:])
    bad_start = dataclasses.replace(greedy, chosen=worst)
    for start in (greedy, bad_start):
        select(
            pool,
            16,
            rng=np.random.default_rng(1),
            quotas=quotas,
            resume=start,
            progress=states.append,
        )
        for before, after in itertools.pairwise([start, *states[:-1]]):
            best = check_swaps(pool, before.chosen, quotas=quotas).best
            assert best is not None
            left, came = set(before.chosen) - set(after.chosen), set(after.chosen)
            assert (left, came - set(before.chosen)) == ({best.out}, {best.into})
        assert len(states) > 1
        states.clear()


def test_the_sums_kept_for_every_candidate_stay_those_of_the_set(make_pool):
    pool, _ = _vectors.checked(make_pool(80, 8, seed=2))
    lengths = _vectors.squared_lengths(pool)
    search = _search.Search(pool, lengths, Cells([], 80, 6))
    for candidate in range(6):
        search.add(candidate)
    n_swaps = 0
    while (swap := search.best_swap()) is not None:
        search.exchange(swap)
        n_swaps += 1
        expected = pool @ pool[search.chosen].sum(axis=0)
        expected[search.chosen] = np.inf
        np.testing.assert_allclose(search._sums, expected, atol=1e-5)
    assert n_swaps > 5


def test_the_certificate_is_what_an_independent_look_finds(make_pool):
    pool = make_pool(300, 10, seed=2)
    found = select(pool, 15, rng=np.random.default_rng(2))
    assert check_swaps(pool, found.chosen) == found.certificate
