"""The prompts of a run are spread evenly over the categories, and the seed alone decides them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench import datasets
from speedbench.errors import CallError, DataError, UnknownNameError
from speedbench.records import CATEGORIES, Prompt

MINI = datasets.load("mini").prompts

data_sets = st.lists(st.sampled_from(CATEGORIES[:5]), min_size=1, max_size=60).map(
    lambda names: [Prompt(id=str(i), category=name, turns=("x",)) for i, name in enumerate(names)]
)
seeds = st.integers(0, 2**32 - 1)


def select(prompts: list[Prompt], seed: int, n: int | None = None) -> list[Prompt]:
    return datasets.select(prompts, num_prompts=n, rng=np.random.default_rng(seed))


@given(data_sets, seeds, st.data())
def test_categories_differ_by_at_most_one_unless_one_is_used_up(
    prompts: list[Prompt], seed: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(prompts)))
    chosen = select(prompts, seed, n)
    assert len(chosen) == len({p.id for p in chosen}) == n
    there, taken = (Counter(p.category for p in group) for group in (prompts, chosen))
    not_used_up = [taken[name] for name in there if taken[name] < there[name]]
    if not_used_up:
        assert max(taken.values()) <= min(not_used_up) + 1


@given(data_sets, seeds)
def test_the_seed_decides_and_nothing_is_lost(prompts: list[Prompt], seed: int) -> None:
    chosen = select(prompts, seed)
    assert chosen == select(prompts, seed)
    assert sorted(p.id for p in chosen) == sorted(p.id for p in prompts)


@given(data_sets, seeds, st.data())
def test_fewer_prompts_are_some_of_more_in_the_same_order(
    prompts: list[Prompt], seed: int, data: st.DataObject
) -> None:
    """A quick run measures a part of what the full run measures."""
    n = data.draw(st.integers(1, len(prompts)))
    chosen, everything = select(prompts, seed, n), select(prompts, seed)
    positions = [everything.index(prompt) for prompt in chosen]
    assert positions == sorted(positions)


def test_another_seed_gives_another_order_and_another_choice() -> None:
    orders = {tuple(p.id for p in select(list(MINI), seed)) for seed in range(5)}
    choices = {frozenset(p.id for p in select(list(MINI), seed, 22)) for seed in range(5)}
    assert len(orders) == len(choices) == 5


def test_only_the_categories_asked_for_are_kept() -> None:
    rng = np.random.default_rng(0)
    chosen = datasets.select(MINI, categories=["qa", "coding"], num_prompts=5, rng=rng)
    assert Counter(p.category for p in chosen).most_common() in (
        [("qa", 3), ("coding", 2)],
        [("coding", 3), ("qa", 2)],
    )


def test_what_cannot_be_chosen_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UnknownNameError, match="did you mean 'coding'"):
        datasets.select(MINI, categories=["codin"], rng=rng)
    with pytest.raises(DataError, match="no prompt of category math"):
        datasets.select([p for p in MINI if p.category != "math"], categories=["math"], rng=rng)
    for n in (0, -1, 111):
        with pytest.raises(CallError, match=f"--num-prompts {n}"):
            datasets.select(MINI, num_prompts=n, rng=rng)
