"""Every exchange, tried one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.diversity import Quota, check_swaps, objective, select, unit_rows
from speedbench.errors import DataError


def best_by_trying(pool, chosen, allowed=lambda members: True):
    """Return half the change of the objective of the best exchange, and how many there are."""
    before, changes = objective(pool[chosen]), []
    outside = [i for i in range(len(pool)) if i not in chosen]
    for out, into in itertools.product(chosen, outside):
        after = [i for i in chosen if i != out] + [into]
        if allowed(after):
            changes.append((objective(pool[after]) - before) / 2)
    return min(changes, default=np.nan), len(changes)


@given(st.integers(2, 14), st.integers(1, 14), st.integers(0, 10_000))
def test_the_best_change_is_that_of_trying_them_all(n, k, seed):
    rng = np.random.default_rng(seed)
    pool = unit_rows(rng.standard_normal((n, 3)))
    chosen = rng.choice(n, min(k, n), replace=False).tolist()
    found = check_swaps(pool, chosen)
    change, tried = best_by_trying(pool, chosen)
    assert found.best_change == pytest.approx(change, abs=1e-9, nan_ok=True)
    assert found.n_swaps_tried == tried
    assert found.swap_optimal == (not change < -1e-8)


def test_a_set_with_one_member_exchanged_is_caught(make_pool):
    pool = make_pool(300, 10, seed=1)
    best = list(select(pool, 20, rng=np.random.default_rng(1)).chosen)
    assert check_swaps(pool, best).swap_optimal
    worse = next(i for i in range(300) if i not in best)
    spoilt = [*best[:-1], worse]
    found = check_swaps(pool, spoilt)
    assert not found.swap_optimal
    assert found.best is not None
    repaired = [i for i in spoilt if i != found.best.out] + [found.best.into]
    gained = objective(pool[repaired]) - objective(pool[spoilt])
    assert gained == pytest.approx(2 * found.best_change, abs=1e-9)
    assert gained <= objective(pool[best]) - objective(pool[spoilt]) + 1e-9


@given(st.integers(0, 2000))
def test_with_quotas_only_exchanges_that_keep_them_count(seed):
    rng = np.random.default_rng(seed)
    pool = unit_rows(rng.standard_normal((12, 3)))
    labels = rng.integers(0, 3, 12)
    chosen = rng.choice(12, 5, replace=False).tolist()
    held = np.bincount(labels[chosen], minlength=3)
    quota = Quota.of("source", labels, {0: int(held[0]), 1: (int(held[1]), int(held[1]) + 1)})

    def allowed(members):
        counts = np.bincount(labels[members], minlength=3)
        return counts[0] == held[0] and held[1] <= counts[1] <= held[1] + 1

    found = check_swaps(pool, chosen, quotas=[quota])
    change, tried = best_by_trying(pool, chosen, allowed)
    assert found.n_swaps_tried == tried
    assert found.best_change == pytest.approx(change, abs=1e-9, nan_ok=True)


def test_a_set_outside_its_quotas_is_refused(make_pool):
    quota = Quota.of("source", ["a"] * 5 + ["b"] * 5, {"a": 2})
    with pytest.raises(DataError, match="does not meet the quotas"):
        check_swaps(make_pool(10), [0, 1, 2, 5], quotas=[quota])
