"""The working state of a selection: which candidates are near, without asking for all pairs.

Held beside the vectors: one float64 sum for each candidate, and its float32 similarity to each of
the k members.  Adding or exchanging a member costs one matrix-vector product.  Floats of single
precision only decide which candidates are looked at in double precision: the choice is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speedbench.diversity._quotas import Cells
from speedbench.diversity._swaps import Standing, Swap
from speedbench.diversity._vectors import (
    TIE,
    UNIT_TOLERANCE,
    Floats,
    Indices,
    Vectors,
)

SINGLE_ERROR = 1e-6
"""More than a dot product of unit vectors loses in float32: 1.5e-7 at 3,072 dimensions."""

FIRST_LOOK = 2048
"""Candidates with the lowest sums, which usually hold the best exchange."""

PART = 8192
"""Candidates whose similarities to all members are looked at together: they stay in the cache."""


class Search:
    """A growing, then changing, set of members among candidates."""

    def __init__(self, vectors: Vectors, lengths: Floats, cells: Cells) -> None:
        n, k = len(vectors), cells.k
        self.chosen: list[int] = []
        self._vectors, self._lengths, self._cells = vectors, lengths, cells
        self._sums = np.zeros(n)  # infinite for members
        self._similar = np.empty((k, n), np.float32)  # a row for each member
        self._closed = np.zeros(cells.n_cells, np.bool_)
        # A sum of k similarities is off by k errors at most, and two of them are compared.
        self._slack = 2 * k * SINGLE_ERROR

    @property
    def standing(self) -> Standing:
        """The set as it stands, computed anew."""
        return Standing(self._vectors, self._lengths, self.chosen, self._cells)

    def fits(self, candidate: int) -> bool:
        """Tell whether the quotas can still be met with this candidate; else close its cell."""
        cell = int(self._cells.of[candidate])
        counts = self._cells.counts(self.chosen)
        counts[cell] += 1
        # What cannot be completed now cannot be completed with more members either.
        self._closed[cell] = self._closed[cell] or not self._cells.can_hold(counts)
        return not self._closed[cell]

    def drawn(self, rng: np.random.Generator) -> int:
        """Return a random first member, of those the quotas allow."""
        while True:
            open_ones = np.flatnonzero(~self._closed[self._cells.of])
            candidate = int(open_ones[rng.integers(len(open_ones))])
            if self.fits(candidate):
                return candidate

    def nearest_to_nothing(self) -> int:
        """Return the candidate with the least sum of similarities to the members."""
        while True:
            sums = self._sums
            if self._closed.any():
                sums = np.where(self._closed[self._cells.of], np.inf, sums)
            near = np.flatnonzero(sums <= sums.min() + self._slack)
            exact = self.standing.sums(near)
            candidate = int(near[np.argmax(exact <= exact.min() + TIE)])
            if self.fits(candidate):
                return candidate

    def add(self, candidate: int) -> None:
        """Make a candidate a member."""
        self._learn(len(self.chosen), candidate)
        self.chosen.append(candidate)

    def exchange(self, swap: Swap) -> None:
        """Put a candidate in the place of a member."""
        slot = self.chosen.index(swap.out)
        self._sums -= self._similar[slot]
        self._learn(slot, swap.into)
        self.chosen[slot] = swap.into
        self._sums[swap.out] = self.standing.sums(np.array([swap.out]))[0]

    def best_swap(self) -> Swap | None:
        """Return the exchange that lowers the objective most; None if none does."""
        standing = self.standing
        saved = standing.saved.astype(np.float32)
        most = standing.saved.max(axis=1)
        # No two vectors are more similar than 1, so an exchange changes the sum by this or more.
        least = self._sums - (most[self._cells.of] + (1 + 2 * UNIT_TOLERANCE))
        first = np.arange(len(least))
        if len(least) > FIRST_LOOK:
            first = np.argpartition(least, FIRST_LOOK)[:FIRST_LOOK]
        bar = min(float(self._changes(first, saved).min()), -TIE) + self._slack
        near = np.flatnonzero(least < bar)
        changes = self._changes(near, saved)
        bar = min(float(changes.min(initial=0.0)), -TIE) + self._slack
        swap = standing.best(near[changes < bar])
        return swap if swap is not None and swap.change <= -TIE else None

    def _learn(self, slot: int, candidate: int) -> None:
        row, member = self._similar[slot], self._vectors[candidate]
        np.vecdot(self._vectors, member, out=row, casting="same_kind")
        self._sums += row
        self._sums[candidate] = np.inf

    def _changes(self, candidates: Indices, saved: NDArray[np.float32]) -> Floats:
        """Return each candidate's best change, to about single precision."""
        found = np.empty(len(candidates))
        for start in range(0, len(candidates), PART):
            some = candidates[start : start + PART]
            gains = self._similar.take(some, axis=1)
            gains += saved[self._cells.of[some]].T
            found[start : start + PART] = self._sums[some] - gains.max(axis=0)
        return found
