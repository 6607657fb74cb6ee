"""Which prompts of a data set a run takes, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from speedbench.errors import CallError, DataError, UnknownNameError
from speedbench.records import CATEGORIES, Prompt


def select(
    prompts: Sequence[Prompt],
    *,
    categories: Sequence[str] = (),
    num_prompts: int | None = None,
    max_turns: int | None = None,
    rng: np.random.Generator,
) -> list[Prompt]:
    """Return the chosen prompts, categories interleaved by a seeded shuffle.

    Parameters
    ----------
    prompts
        The data set.
    categories
        Keep only these; all when empty.
    num_prompts
        Take this many, spread evenly over the categories (stratified); all when None.
    max_turns
        Keep so many turns of a conversation; all when None.
    rng
        Decides which prompts of a category are taken, and the order.

    Raises
    ------
    UnknownNameError
        For a category outside the 11 known ones.
    DataError
        When a known category has no prompt in this data set, or fewer prompts exist than asked for.

    Examples
    --------
    >>> from speedbench.datasets import load
    >>> chosen = select(load("mini").prompts, num_prompts=22, rng=np.random.default_rng(0))
    >>> len({prompt.category for prompt in chosen}), len(chosen)
    (11, 22)
    """
    for name in categories:
        if name not in CATEGORIES:
            raise UnknownNameError("category", name, CATEGORIES)
    kept = [
        msgspec.structs.replace(prompt, turns=prompt.turns[:max_turns])
        for prompt in prompts
        if not categories or prompt.category in categories
    ]
    missing = set(categories) - {prompt.category for prompt in kept}
    if missing:
        raise DataError(f"the data set has no prompt of category {', '.join(sorted(missing))}")
    shuffled = [kept[i] for i in rng.permutation(len(kept))]
    if num_prompts is None:
        return shuffled
    if not 1 <= num_prompts <= len(kept):
        raise CallError(f"--num-prompts {num_prompts}: must lie between 1 and {len(kept)} here")
    return _stratified(shuffled, num_prompts)


def blocks(prompts: Sequence[Prompt], n_blocks: int) -> list[list[Prompt]]:
    """Deal prompts into blocks so that each holds the same share of every category.

    Prompts keep their order.  The prompts of a category go to consecutive blocks, and each category
    begins one block further, so that a few prompts of each still fill every block.

    Examples
    --------
    >>> from speedbench.datasets import load
    >>> dealt = blocks(load("mini").prompts, 10)
    >>> [len({prompt.category for prompt in block}) for block in dealt[:2]], len(dealt)
    ([11, 11], 10)
    """
    dealt: list[list[Prompt]] = [[] for _ in range(n_blocks)]
    next_block: dict[str, int] = {}
    for prompt in prompts:
        block = next_block.setdefault(prompt.category, len(next_block))
        next_block[prompt.category] = block + 1
        dealt[block % n_blocks].append(prompt)
    return dealt


def _stratified(shuffled: Sequence[Prompt], num_prompts: int) -> list[Prompt]:
    """Take prompts category by category, one each in turn, and keep the shuffled order."""
    rank: dict[str, int] = {}
    order: list[tuple[int, int]] = []
    for position, prompt in enumerate(shuffled):
        nth = rank.get(prompt.category, 0)
        rank[prompt.category] = nth + 1
        order.append((nth, position))
    taken = {position for _, position in sorted(order)[:num_prompts]}
    return [prompt for position, prompt in enumerate(shuffled) if position in taken]
