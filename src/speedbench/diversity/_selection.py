"""Greedy selection, then the best exchange of one member until none helps.

arXiv 2604.09557, section 5, Algorithm 1.  The paper leaves open which candidate is taken of several
that are equal, what ends the exchanges besides a maximum count, and what rounding may decide.  Here

- candidates whose sums differ by less than 1e-9 are equal, and the lowest index is taken; of equal
  exchanges the one with the lowest index coming in, then the lowest going out;
- an exchange must lower the sum over pairs by 1e-9, so the search ends;
- sums are compared in float64, whatever the vectors are stored in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from speedbench.diversity._objective import mean_of
from speedbench.diversity._quotas import Cells, Quota
from speedbench.diversity._search import Search
from speedbench.diversity._swaps import Certificate, certify
from speedbench.diversity._vectors import checked, checked_indices
from speedbench.errors import CallError, DataError


@dataclass(frozen=True)
class Selection:
    """A set, finished or on its way: enough to go on from.

    Attributes
    ----------
    chosen : tuple of int
        Rows of the pool, in the order of their places; an exchange keeps the place.
    k : int
        How many are wanted.
    n_candidates : int
        Size of the pool.
    n_swaps : int
        Exchanges made so far.
    objective : float
        Σ x_i . x_j over ordered pairs of different members.
    certificate : Certificate or None
        Of the finished set; None while on the way, or where `max_swaps` ended it.
    """

    chosen: tuple[int, ...]
    k: int
    n_candidates: int
    n_swaps: int = 0
    objective: float = 0.0
    certificate: Certificate | None = None

    @property
    def mean_similarity(self) -> float:
        """Mean cosine similarity over pairs; NaN below two members."""
        return mean_of(self.objective, len(self.chosen))


@dataclass(frozen=True)
class Starts:
    """Selections from several random first members: the best one, and every objective."""

    best: Selection
    objectives: tuple[float, ...]


Progress = Callable[[Selection], None]


def select(
    vectors: ArrayLike,
    k: int,
    *,
    rng: np.random.Generator,
    quotas: Sequence[Quota] = (),
    resume: Selection | None = None,
    max_swaps: int | None = None,
    progress: Progress | None = None,
) -> Selection:
    """Choose k candidates that are as unlike each other as the search finds.

    Parameters
    ----------
    vectors : (n, d) array_like
        The pool: unit vectors, as `unit_rows` makes them.  float32 and float64 arrays, also those
        mapped from a file, are used where they lie.
    k : int
    rng : numpy.random.Generator
        Draws the first member; nothing else is random.
    quotas : sequence of Quota
        Bounds that the finished set meets.  A greedy step takes the best candidate with which they
        can still be met, and an exchange keeps them.
    resume : Selection, optional
        What an earlier call reported to `progress`.  The result is that of a call that was never
        interrupted.
    max_swaps : int, optional
        Stop after so many exchanges in all; by default when none helps.
    progress : callable, optional
        Is given the selection so far after each member and each exchange.

    Returns
    -------
    Selection
        With a certificate, unless `max_swaps` ended it.

    Raises
    ------
    DataError
        Fewer than k candidates; a vector that is not of unit length, is zero or holds NaN; quotas
        that cannot be met.

    Notes
    -----
    Time is (k + exchanges) products of the pool and one vector; memory beside the pool is 4 k + 24
    bytes a candidate and some blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.diversity import select
    >>> pool = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
    >>> found = select(pool, 2, rng=np.random.default_rng(0))
    >>> sorted(found.chosen), found.mean_similarity, found.certificate.swap_optimal
    ([0, 3], 0.0, True)
    """
    if k < 1:
        raise CallError(f"a set of {k} prompts was asked for: at least 1 is needed")
    rows, lengths = checked(vectors, at_least=k)
    cells = Cells(quotas, len(rows), k)
    search = Search(rows, lengths, cells)
    state = _resumed(search, resume, cells) or Selection((), k, len(rows))

    def reached(n_swaps: int, certificate: Certificate | None = None) -> Selection:
        chosen = tuple(search.chosen)
        found = Selection(chosen, k, len(rows), n_swaps, search.standing.objective, certificate)
        if progress is not None:
            progress(found)
        return found

    while len(search.chosen) < k:
        search.add(search.nearest_to_nothing() if search.chosen else search.drawn(rng))
        state = reached(0)
    while max_swaps is None or state.n_swaps < max_swaps:
        swap = search.best_swap()
        if swap is None:
            certificate = certify(rows, lengths, np.asarray(search.chosen), cells)
            if certificate.swap_optimal:
                return reached(state.n_swaps, certificate)
            swap = certificate.best
        assert swap is not None
        search.exchange(swap)
        state = reached(state.n_swaps + 1)
    return state


def select_from_starts(
    vectors: ArrayLike,
    k: int,
    n_starts: int,
    *,
    rng: np.random.Generator,
    quotas: Sequence[Quota] = (),
    progress: Progress | None = None,
) -> Starts:
    """Select from several random first members and keep the set with the lowest objective.

    The first start is what `select` gives with the same generator.  Of equal sets the first wins.

    Examples
    --------
    >>> import numpy as np
    >>> from speedbench.diversity import select_from_starts
    >>> pool = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
    >>> select_from_starts(pool, 2, 3, rng=np.random.default_rng(0)).objectives
    (0.0, 0.0, 0.0)
    """
    if n_starts < 1:
        raise CallError(f"{n_starts} starts were asked for: at least 1 is needed")
    found = [select(vectors, k, rng=rng, quotas=quotas, progress=progress) for _ in range(n_starts)]
    best = min(found, key=lambda selection: selection.objective)
    return Starts(best, tuple(selection.objective for selection in found))


def _resumed(search: Search, resume: Selection | None, cells: Cells) -> Selection | None:
    if resume is None:
        return None
    n = len(cells.of)
    if (resume.k, resume.n_candidates) != (cells.k, n) or len(resume.chosen) > cells.k:
        raise DataError(
            f"the selection to resume is {resume.k} of {resume.n_candidates} candidates, and this "
            f"call is for {cells.k} of {n}: start anew"
        )
    chosen = checked_indices(resume.chosen, n)
    if not cells.can_hold(cells.counts(chosen)):
        raise DataError("the selection to resume does not meet the quotas: start anew")
    for candidate in chosen.tolist():
        search.add(candidate)
    return Selection(resume.chosen, cells.k, n, resume.n_swaps, search.standing.objective, None)
