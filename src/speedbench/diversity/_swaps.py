"""What exchanging one member of a set for one candidate changes, exactly; and the certificate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from speedbench.diversity._quotas import Cells, Quota
from speedbench.diversity._vectors import (
    TIE,
    Floats,
    Indices,
    Vectors,
    blocks,
    checked,
    checked_indices,
)
from speedbench.errors import DataError


@dataclass(frozen=True)
class Swap:
    """One exchange: row `out` leaves, row `into` comes, and the sum over pairs changes by `change`.

    The objective counts each pair twice and changes by twice as much.
    """

    change: float
    out: int
    into: int


@dataclass(frozen=True)
class Certificate:
    """What a look at every single exchange found.

    Attributes
    ----------
    swap_optimal : bool
        No exchange that the quotas allow lowers the sum of similarities by 1e-9 or more.
    best_change : float
        The lowest change of Σ over pairs (each pair once) that an exchange brings, in float64; NaN
        if there is no exchange to try.
    best : Swap or None
        That exchange.
    n_swaps_tried : int
        Exchanges that were looked at.
    """

    swap_optimal: bool
    best_change: float
    best: Swap | None
    n_swaps_tried: int


class Standing:
    """A set as it stands, in float64, and what each exchange would change."""

    def __init__(
        self, vectors: Vectors, lengths: Floats, chosen: Sequence[int] | Indices, cells: Cells
    ) -> None:
        self.chosen = np.asarray(chosen, np.intp)
        members = vectors[self.chosen].astype(np.float64)
        self.total = members.sum(axis=0)
        self._members = members
        self._vectors, self._cells = vectors, cells
        self.objective = float(self.total @ self.total - lengths[self.chosen].sum())
        similar_to_rest = members @ self.total - lengths[self.chosen]
        allowed = cells.exchanges(cells.counts(self.chosen))[:, cells.of[self.chosen]]
        # (cells, k): what taking out a member saves; -inf where the quotas forbid the exchange.
        self.saved = np.where(allowed, similar_to_rest, -np.inf)

    def sums(self, candidates: Indices) -> Floats:
        """Return the sum of similarities of each candidate outside to all members."""
        parts = [
            np.vecdot(self._vectors[candidates[some]].astype(np.float64), self.total)
            for some in blocks(len(candidates), self._vectors.shape[1])
        ]
        return np.concatenate([np.empty(0), *parts])

    def best(self, candidates: Indices) -> Swap | None:
        """Return the best exchange for one of the candidates (ascending, none a member).

        Of exchanges within `TIE` of the best, the one with the lowest `into`, then the lowest
        `out`.  None where the quotas allow no exchange.
        """
        changes = [
            self._changes(candidates[some]).min(axis=1)
            for some in blocks(len(candidates), self._vectors.shape[1])
        ]
        of_candidate = np.concatenate([np.empty(0), *changes])
        least = of_candidate.min(initial=np.inf)
        if math.isinf(least):
            return None
        into = candidates[int(np.argmax(of_candidate <= least + TIE))]
        row = self._changes(np.array([into]))[0]
        out = self.chosen[row <= row.min() + TIE].min()
        return Swap(float(row.min()), int(out), int(into))

    def _changes(self, candidates: Indices) -> Floats:
        """Return (candidates, k) changes of the sum over pairs."""
        rows = self._vectors[candidates].astype(np.float64)
        found = rows @ self._members.T
        found += self.saved[self._cells.of[candidates]]
        return np.asarray(np.vecdot(rows, self.total)[:, None] - found)


def check_swaps(
    vectors: ArrayLike, chosen: ArrayLike, *, quotas: Sequence[Quota] = ()
) -> Certificate:
    """Tell whether exchanging any one member of a set would make it more diverse.

    Every exchange is computed in float64 from the vectors: nothing is taken over from the search
    that found the set, and nothing is left out because of a bound.

    Parameters
    ----------
    vectors : (n, d) array_like
        The pool: unit vectors.
    chosen : (k,) array_like of int
        The set, as rows of the pool.
    quotas : sequence of Quota
        Only exchanges that keep them are looked at.

    Raises
    ------
    DataError
        Bad vectors, or a set that does not meet the quotas.

    Examples
    --------
    >>> from speedbench.diversity import check_swaps
    >>> pool = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]
    >>> check_swaps(pool, [0, 2]).swap_optimal
    True
    >>> found = check_swaps(pool, [0, 1]).best
    >>> round(found.change, 3), found.out, found.into
    (-0.8, 1, 2)
    """
    rows, lengths = checked(vectors)
    members = checked_indices(chosen, len(rows))
    cells = Cells(quotas, len(rows), len(members))
    if not cells.meets(cells.counts(members)):
        raise DataError("the set to check does not meet the quotas")
    return certify(rows, lengths, members, cells)


def certify(vectors: Vectors, lengths: Floats, chosen: Indices, cells: Cells) -> Certificate:
    """Return the certificate of a set that is known to be valid."""
    outside = np.setdiff1d(np.arange(len(vectors)), chosen, assume_unique=True)
    standing = Standing(vectors, lengths, chosen, cells)
    best = standing.best(outside)
    tried = int(
        np.bincount(cells.of[outside], minlength=cells.n_cells)
        @ np.isfinite(standing.saved).sum(axis=1)
    )
    if best is None:
        return Certificate(True, math.nan, None, tried)
    return Certificate(best.change > -TIE, best.change, best, tried)
