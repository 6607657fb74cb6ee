"""How many prompts of each source, each difficulty and the like a selection must and may hold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from speedbench.diversity._vectors import Indices
from speedbench.errors import DataError


@dataclass(frozen=True)
class Quota:
    """Bounds on the counts of one attribute's values.

    Attributes
    ----------
    name : str
        The attribute, such as "source".
    values : tuple of str
        Name of each value, for errors.
    labels : (n,) ndarray of int
        Each candidate's value, as an index into `values`.
    low, high : (n_values,) ndarray of int
        Least and most candidates of each value in a selection.
    """

    name: str
    values: tuple[str, ...]
    labels: Indices
    low: Indices
    high: Indices

    @classmethod
    def of(
        cls,
        name: str,
        labels: Sequence[Hashable] | NDArray[np.generic],
        wanted: Mapping[Hashable, int | tuple[int, int | None]],
    ) -> Quota:
        """Return the quota on an attribute; a value that `wanted` does not name is free.

        Parameters
        ----------
        name : str
        labels : sequence of n hashables
            The attribute of each candidate.
        wanted : mapping of value to int, or to (low, high)
            An exact count, or bounds; None as high is no upper bound.

        Raises
        ------
        DataError
            A value that no candidate has, or bounds that cross.

        Examples
        --------
        >>> from speedbench.diversity import Quota
        >>> quota = Quota.of("difficulty", ["hard", "easy", "hard"], {"hard": (1, None)})
        >>> quota.values, quota.low.tolist()
        (('hard', 'easy'), [1, 0])
        """
        known: dict[Hashable, int] = {}
        listed = labels.tolist() if isinstance(labels, np.ndarray) else labels
        codes = [known.setdefault(label, len(known)) for label in listed]
        low = np.zeros(len(known), np.intp)
        high = np.full(len(known), len(codes), np.intp)
        for value, bound in wanted.items():
            least, most = bound if isinstance(bound, tuple) else (bound, bound)
            most = len(codes) if most is None else most
            if least < 0 or most < least:
                raise DataError(f"quota on {name}: {value} from {least} to {most} cannot be met")
            if value not in known:
                if least == 0:
                    continue
                raise DataError(
                    f"quota on {name}: {least} of {value} are wanted, and no candidate has it"
                )
            low[known[value]], high[known[value]] = least, most
        names = tuple(str(value) for value in known)
        return cls(name, names, np.asarray(codes, np.intp), low, high)


class Cells:
    """Candidates grouped by their values of all attributes: what the quotas can tell apart.

    Without quotas there is one cell.  `of` gives each candidate's cell.
    """

    def __init__(self, quotas: Sequence[Quota], n: int, k: int) -> None:
        for quota in quotas:
            if len(quota.labels) != n:
                raise DataError(
                    f"quota on {quota.name}: {len(quota.labels)} labels for {n} candidates"
                )
            _check_one(quota, k)
        self.k = k
        self._quotas = tuple(quotas)
        code, shape = np.zeros(n, np.intp), tuple(len(q.values) for q in quotas)
        for quota in quotas:
            code = code * len(quota.values) + quota.labels
        present, self.of = np.unique(code, return_inverse=True) if quotas else (code[:1], code)
        self.n_cells = len(present)
        self._available = np.bincount(self.of, minlength=self.n_cells)
        self._value = np.unravel_index(present, shape) if quotas else ()
        if quotas and not self.can_hold(np.zeros(self.n_cells, np.intp)):
            names = " and ".join(quota.name for quota in quotas)
            raise DataError(f"no {k} candidates meet the quotas on {names} together: relax one")

    def counts(self, chosen: ArrayLike) -> Indices:
        """Return how many of the chosen candidates lie in each cell."""
        return np.bincount(self.of[np.asarray(chosen, np.intp)], minlength=self.n_cells)

    def can_hold(self, counts: Indices) -> bool:
        """Tell whether k candidates that include so many of each cell can meet the quotas."""
        if not self._quotas:
            return int(counts.sum()) <= self.k <= int(self._available.sum())
        rows, low, high = [np.ones(self.n_cells)], [self.k], [self.k]
        for column, quota in enumerate(self._quotas):
            for value in range(len(quota.values)):
                rows.append((self._value[column] == value).astype(np.float64))
                low.append(int(quota.low[value]))
                high.append(int(quota.high[value]))
        if (counts > self._available).any():
            return False
        found = optimize.milp(
            np.zeros(self.n_cells),
            integrality=np.ones(self.n_cells),
            bounds=optimize.Bounds(counts, self._available),
            constraints=optimize.LinearConstraint(np.stack(rows), low, high),
        )
        return bool(found.success)

    def meets(self, counts: Indices) -> bool:
        """Tell whether a whole selection with these counts meets every quota."""
        return int(counts.sum()) == self.k and all(
            bool(((totals >= quota.low) & (totals <= quota.high)).all())
            for quota, totals in self._totals(counts)
        )

    def exchanges(self, counts: Indices) -> NDArray[np.bool_]:
        """Return (n_cells, n_cells): whether one of cell [in] may replace one of cell [out]."""
        allowed = np.ones((self.n_cells, self.n_cells), np.bool_)
        for column, (quota, totals) in enumerate(self._totals(counts)):
            value = self._value[column]
            fits = np.outer(totals[value] < quota.high[value], totals[value] > quota.low[value])
            allowed &= fits | (value[:, None] == value[None, :])
        return allowed

    def _totals(self, counts: Indices) -> list[tuple[Quota, Indices]]:
        found = []
        for column, quota in enumerate(self._quotas):
            totals = np.zeros(len(quota.values), np.intp)
            np.add.at(totals, self._value[column], counts)
            found.append((quota, totals))
        return found


def _check_one(quota: Quota, k: int) -> None:
    available = np.bincount(quota.labels, minlength=len(quota.values))
    short = np.flatnonzero(available < quota.low)
    if len(short):
        value = short[0]
        raise DataError(
            f"quota on {quota.name}: {quota.low[value]} of {quota.values[value]} are wanted, and "
            f"only {available[value]} candidates have it"
        )
    if quota.low.sum() > k:
        raise DataError(f"quota on {quota.name}: {quota.low.sum()} are wanted in a set of {k}")
    most = int(np.minimum(quota.high, available).sum())
    if most < k:
        raise DataError(f"quota on {quota.name}: it allows {most}, and a set of {k} is wanted")
