"""Selections within quotas, and quotas that cannot be met."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.diversity import Quota, check_swaps, objective, select, unit_rows
from speedbench.errors import DataError


def meets(quota, chosen):
    counts = np.bincount(quota.labels[list(chosen)], minlength=len(quota.values))
    return bool(((counts >= quota.low) & (counts <= quota.high)).all())


def chooses(pool, k, quotas, seed=0, **options):
    return select(pool, k, rng=np.random.default_rng(seed), quotas=quotas, **options)


@given(st.integers(0, 5000))
def test_the_set_meets_them_and_is_swap_optimal_or_no_set_exists(seed):
    rng = np.random.default_rng(seed)
    n, k = 9, int(rng.integers(1, 6))
    pool = unit_rows(rng.standard_normal((n, 3)))
    quotas = []
    for name in ("source", "difficulty", "multiturn")[: rng.integers(1, 4)]:
        low = rng.integers(0, 3, 3)
        bounds = {v: (int(low[v]), int(low[v] + rng.integers(0, 3))) for v in range(3)}
        labels = np.r_[0:3, rng.integers(0, 3, n - 3)]
        quotas.append(Quota.of(name, rng.permutation(labels), bounds))
    possible = [
        objective(pool[list(members)])
        for members in itertools.combinations(range(n), k)
        if all(meets(quota, members) for quota in quotas)
    ]
    if not possible:
        with pytest.raises(DataError, match="quota"):
            chooses(pool, k, quotas, seed)
        return
    found = chooses(pool, k, quotas, seed)
    assert len(set(found.chosen)) == k
    assert all(meets(quota, found.chosen) for quota in quotas)
    assert found.objective >= min(possible) - 1e-9
    assert check_swaps(pool, found.chosen, quotas=quotas).swap_optimal


def test_quotas_that_ask_for_nothing_change_nothing(make_pool):
    pool = make_pool(300, 12)
    free = chooses(pool, 20, [])
    labels = np.arange(300) % 7
    for wanted in ({}, {3: (0, None)}, {3: (0, 20), 99: (0, 4)}):
        held = chooses(pool, 20, [Quota.of("source", labels, wanted)])
        assert (held.chosen, held.objective) == (free.chosen, free.objective)


def test_exact_counts_of_two_attributes_at_once(make_pool):
    pool = make_pool(600, 12, seed=5)
    source = np.array(["a", "b", "c"])[np.arange(600) % 3]
    multi = np.arange(600) % 10 == 0
    quotas = [
        Quota.of("source", source, {"a": 10, "b": 10, "c": 20}),
        Quota.of("multiturn", multi, {True: 8}),
    ]
    found = chooses(pool, 40, quotas)
    chosen = list(found.chosen)
    assert {v: int((source[chosen] == v).sum()) for v in "abc"} == {"a": 10, "b": 10, "c": 20}
    assert int(multi[chosen].sum()) == 8
    assert found.n_swaps > 0
    assert found.objective < objective(pool[np.random.default_rng(0).choice(600, 40)])


def test_a_scarce_value_is_kept_for_the_end_of_the_greedy_steps():
    # Both candidates of value "x" are the worst choice, and one of them is needed.
    pool = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.6, 0.64, 0.48], [0.6, 0.48, 0.64]])
    found = chooses(unit_rows(pool), 3, [Quota.of("kind", list("aaaxx"), {"x": 1})], max_swaps=0)
    assert sum(i >= 3 for i in found.chosen) == 1


def test_resumed_with_quotas_it_ends_the_same(make_pool):
    pool, states = make_pool(200, 8, seed=6), []
    quotas = [Quota.of("source", np.arange(200) % 4, {0: 6, 1: (2, 3)})]
    whole = chooses(pool, 16, quotas, progress=states.append)
    for state in states:
        assert chooses(pool, 16, quotas, seed=77, resume=state) == whole
    other = [Quota.of("source", np.arange(200) % 4, {0: 0, 1: (2, 3)})]
    with pytest.raises(DataError, match="does not meet the quotas: start anew"):
        chooses(pool, 16, other, resume=states[-1])


LABELS = ["a"] * 6 + ["b"] * 3 + ["c"]


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"b": 4}, "quota on source: 4 of b are wanted, and only 3 candidates have it"),
        ({"z": 1}, "quota on source: 1 of z are wanted, and no candidate has it"),
        ({"a": 4, "b": 2}, "quota on source: 6 are wanted in a set of 5"),
        ({"a": (0, 1), "b": (0, 2)}, "quota on source: it allows 4, and a set of 5 is wanted"),
        ({"a": (3, 2)}, "quota on source: a from 3 to 2 cannot be met"),
        ({"a": -1}, "quota on source: a from -1 to -1 cannot be met"),
    ],
)
def test_what_one_quota_cannot_have_is_one_sentence(make_pool, wanted, sentence):
    with pytest.raises(DataError) as caught:
        chooses(make_pool(10), 5, [Quota.of("source", LABELS, wanted)])
    assert str(caught.value).startswith(sentence)


def test_what_quotas_cannot_have_together_names_them(make_pool):
    # Every multi-turn prompt is of source a: five of b and two multi-turn ones make more than six.
    source, multi = ["a"] * 5 + ["b"] * 5, [True] * 3 + [False] * 7
    quotas = [Quota.of("source", source, {"b": 5}), Quota.of("multi-turn", multi, {True: 2})]
    with pytest.raises(DataError, match=r"^no 6 candidates meet the quotas on source and multi-tu"):
        chooses(make_pool(10), 6, quotas)


def test_labels_for_another_pool_are_refused(make_pool):
    with pytest.raises(DataError, match=r"^quota on source: 10 labels for 11 candidates"):
        chooses(make_pool(11), 5, [Quota.of("source", LABELS, {})])
