"""Would another set from the same pool have told another story?  The paper's appendix C.

Sets are redrawn from a pool whose acceptance is known prompt by prompt.  For each category: how far
the acceptance length (AL) ranges over the redraws.  Over categories: how often two of them change
places in the ranking.

The paper does not say which rankings it compares.  Its means (0.046, 0.019; table 7) are no
multiple of 1/550, as ten comparisons of 11 categories with one ranking would be; they fit the 45
pairs of ten redraws.  Both are given here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from speedbench.diversity._selection import select
from speedbench.diversity._vectors import Floats, Indices, Vectors
from speedbench.errors import CallError, DataError

Draw: TypeAlias = Callable[[Indices, np.random.Generator], Indices]
"""From the rows of one category, ascending, to those drawn."""


@dataclass(frozen=True)
class Stability:
    """AL of each category, in redrawn sets and in the whole pool.

    Attributes
    ----------
    categories : tuple of str
        In order of their names.
    pool : (n_categories,) ndarray
        AL over all prompts of the pool; NaN where no step was recorded.
    redrawn : (n_redraws, n_categories) ndarray
        AL over the prompts of each redraw; NaN likewise.
    """

    categories: tuple[str, ...]
    pool: Floats
    redrawn: Floats

    @property
    def range_shares(self) -> Floats:
        """(max - min) / mean over redraws, for each category (table 6); NaN if any is NaN."""
        return np.array([range_share(column) for column in self.redrawn.T])

    @property
    def offsets(self) -> Floats:
        """Mean over redraws, relative to the pool, less 1: a set may be stable beside the truth."""
        return np.asarray(self.redrawn.mean(axis=0) / self.pool - 1)

    @property
    def distances_between(self) -> Floats:
        """Kendall distance of the rankings of every two redraws."""
        pairs = itertools.combinations(self.redrawn, 2)
        return np.array([kendall_distance(one, other) for one, other in pairs])

    @property
    def distances_to_pool(self) -> Floats:
        """Kendall distance of the ranking of each redraw and that of the pool."""
        return np.array([kendall_distance(one, self.pool) for one in self.redrawn])


def stability(
    tokens: ArrayLike,
    steps: ArrayLike,
    categories: Sequence[str],
    draw: Draw,
    *,
    rng: np.random.Generator,
    n_redraws: int = 10,
    pooled: bool = True,
) -> Stability:
    """Redraw sets from a measured pool and return the AL of each category in each.

    Parameters
    ----------
    tokens, steps : (n,) array_like
        Tokens emitted in decode steps, and those steps, of each prompt.
    categories : sequence of n str
    draw : callable
        `uniform_draw` or `selected_draw`, or one's own.
    rng : numpy.random.Generator
    n_redraws : int
    pooled : bool
        AL per step, Σ tokens / Σ steps; else the mean over prompts of their own AL.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.diversity import stability, uniform_draw
    >>> found = stability([30, 20, 60, 60], [10, 10, 20, 20], ["qa", "qa", "math", "math"],
    ...                   uniform_draw(1), rng=np.random.default_rng(0), n_redraws=20)
    >>> found.categories, found.pool.tolist(), found.range_shares.round(1).tolist()
    (('math', 'qa'), [3.0, 2.5], [0.0, 0.4])
    """
    made, taken = np.asarray(tokens, np.float64), np.asarray(steps, np.float64)
    labels = np.asarray(categories, np.str_)
    if not made.shape == taken.shape == labels.shape or made.ndim != 1:
        raise DataError(
            f"tokens, steps and categories have shapes {made.shape}, {taken.shape} and "
            f"{labels.shape}: one of each for every prompt is needed"
        )
    wrong = ~(np.isfinite(made) & np.isfinite(taken)) | (made < 0) | (taken < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"prompt {row}: {made[row]:g} tokens in {taken[row]:g} steps cannot be")
    if n_redraws < 2:
        raise CallError(f"{n_redraws} redraws show no range: at least 2 are needed")
    names = tuple(sorted(set(labels.tolist())))
    rows_of = [np.flatnonzero(labels == name) for name in names]

    def al(rows: Indices) -> float:
        return acceptance_length(made[rows], taken[rows], pooled=pooled)

    redrawn = np.array([[al(draw(rows, rng)) for rows in rows_of] for _ in range(n_redraws)])
    return Stability(names, np.array([al(rows) for rows in rows_of]), redrawn)


def uniform_draw(k: int) -> Draw:
    """Return a draw of k prompts at random, without replacement."""

    def draw(rows: Indices, rng: np.random.Generator) -> Indices:
        if len(rows) < k:
            raise DataError(f"{k} prompts were to be drawn from a category of {len(rows)}")
        return np.sort(rng.choice(rows, k, replace=False))

    return draw


def selected_draw(vectors: Vectors, k: int) -> Draw:
    """Return a draw of k prompts by `select`, from a random first member each time."""

    def draw(rows: Indices, rng: np.random.Generator) -> Indices:
        return np.sort(rows[list(select(vectors[rows], k, rng=rng).chosen)])

    return draw


def acceptance_length(tokens: Floats, steps: Floats, *, pooled: bool = True) -> float:
    """Return Σ tokens / Σ steps, or the mean of tokens / steps over prompts that have steps."""
    some = steps > 0
    if not some.any():
        return math.nan
    if pooled:
        return float(tokens[some].sum() / steps[some].sum())
    return float((tokens[some] / steps[some]).mean())


def range_share(values: ArrayLike) -> float:
    """Return (max - min) / mean; NaN where any value is NaN.

    Examples
    --------
    >>> from speedbench.diversity import range_share
    >>> range_share([1.5, 2.0, 2.5])
    0.5
    """
    given = np.asarray(values, np.float64)
    return float((given.max() - given.min()) / given.mean())


def kendall_distance(one: ArrayLike, other: ArrayLike) -> float:
    """Return the share of pairs that two lists of values rank in opposite order.

    A pair that is equal in one list only counts half.  Entries that are NaN in either list are left
    out; NaN if fewer than two remain.

    Examples
    --------
    >>> from speedbench.diversity import kendall_distance
    >>> kendall_distance([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    0.3333333333333333
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise CallError(f"rankings of {a.shape} and {b.shape} values cannot be compared")
    both = ~(np.isnan(a) | np.isnan(b))
    upper = np.triu_indices(int(both.sum()), 1)
    if not len(upper[0]):
        return math.nan
    signs = [np.sign(np.subtract.outer(x[both], x[both]))[upper] for x in (a, b)]
    return float(np.abs(signs[0] - signs[1]).mean() / 2)
