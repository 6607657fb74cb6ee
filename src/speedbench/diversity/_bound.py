"""How far from the best any set could be: a lower bound by a convex relaxation.

For w in {0, 1}^n with Σ w = k, the objective is f(w) = |Σ w_i x_i|² - Σ w_i |x_i|²: of binary w the
square of w_i is w_i, so the diagonal is a linear term, for unit vectors the constant k.  f is
convex, and its minimum over 0 <= w <= 1 is no more than that over sets.  That minimum is not known
either, only approached; what is reported is below it: f lies above its tangent plane at any w, so

    min f >= f(w) + min over v of f'(w) . (v - w),

where the best v takes the k smallest entries of the gradient f'(w) = 2 X s - |x|², s = Σ w_i x_i.
The plane is computed over the whole pool in float64, whatever found w.

w is found by accelerated projected gradient steps (Beck and Teboulle 2009) with restarts
(O'Donoghue and Candès 2015), on the candidates that the gradient singles out; those that it still
asks for are added.  Vectors are centred for the steps: with Σ w fixed this changes nothing but the
step length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from speedbench.diversity._vectors import (
    Floats,
    Indices,
    Vectors,
    checked,
    checked_indices,
    products,
)
from speedbench.errors import CallError

WORKING = 4096
"""Candidates that the steps begin with, and how many may be added at a time."""

LOOK_EVERY = 25
"""Steps between two looks at the gap."""


@dataclass(frozen=True)
class Bound:
    """A number that no set of k candidates goes below.

    Attributes
    ----------
    value : float
        The lower bound of the objective (ordered pairs).
    relaxed : float
        The relaxed objective at the weights found; the relaxation's minimum is between the two.
    random_objective : float
        Objective expected of k candidates drawn at random without replacement.
    k, n_candidates : int
    n_steps : int
        Gradient steps taken.
    converged : bool
        `relaxed` - `value` is within the tolerance asked for.  `value` is a bound either way.
    """

    value: float
    relaxed: float
    random_objective: float
    k: int
    n_candidates: int
    n_steps: int
    converged: bool

    def gap(self, objective: float) -> float:
        """Return (objective - bound) as a share of the random draw's objective.

        At most this share could still be gained.  NaN where a random draw's expected objective is
        not positive.
        """
        return self._share(objective - self.value)

    def ratio_to_random(self, objective: float) -> float:
        """Return objective over that of a random draw; NaN where the latter is not positive."""
        return self._share(objective)

    def _share(self, amount: float) -> float:
        return amount / self.random_objective if self.random_objective > 0 else math.nan


def lower_bound(
    vectors: ArrayLike,
    k: int,
    *,
    start: ArrayLike | None = None,
    tolerance: float = 5e-4,
    max_steps: int = 5000,
) -> Bound:
    """Return a lower bound on the objective of every set of k candidates.

    Parameters
    ----------
    vectors : (n, d) array_like
        The pool: unit vectors.
    k : int
    start : (k,) array_like of int, optional
        A good set, such as a selection: the steps begin there.  It saves time only.
    tolerance : float
        Stop when the bound is known to this share of the random draw's objective (of k if that is
        larger).
    max_steps : int
        Gradient steps in all.

    Notes
    -----
    Quotas are not part of it: they only raise the best objective, so the bound holds for them too.

    Examples
    --------
    >>> from speedbench.diversity import lower_bound
    >>> bound = lower_bound([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]], 2)
    >>> bound.value <= 0.0, bound.converged
    (True, True)
    """
    rows, lengths = checked(vectors, at_least=max(k, 1))
    if k < 1:
        raise CallError(f"a bound for sets of {k} was asked for: at least 1 is needed")
    n = len(rows)
    everything = rows.sum(axis=0, dtype=np.float64)
    mean = (everything @ everything - lengths.sum()) / (n * (n - 1)) if n > 1 else 0.0
    random_objective = float(k * (k - 1) * mean)
    within = tolerance * max(random_objective, float(k))

    direction = everything * (k / n)
    members = np.empty(0, np.intp)
    if start is not None:
        members = checked_indices(start, n)
        direction = rows[members].sum(axis=0, dtype=np.float64)
    gradient = _gradient(rows, lengths, direction)
    working = np.union1d(members, _smallest(gradient, max(k, WORKING)))
    weights = np.full(len(working), k / len(working))
    if len(members) == k:
        weights = np.isin(working, members).astype(np.float64)

    value, relaxed, n_steps = -math.inf, math.inf, 0
    while True:
        weights, steps = _descend(
            rows[working], lengths[working], weights, within / 4, max_steps - n_steps
        )
        n_steps += steps
        direction = weights @ rows[working].astype(np.float64)
        gradient = _gradient(rows, lengths, direction)
        reached = float(direction @ direction - weights @ lengths[working])
        best = gradient[_smallest(gradient, k)].sum()
        below = reached + float(best - weights @ gradient[working])
        value, relaxed = max(value, below), min(relaxed, reached)
        if relaxed - value <= within or n_steps >= max_steps:
            break
        wanted = np.setdiff1d(_smallest(gradient, max(k, WORKING)), working)
        weights = np.concatenate([weights, np.zeros(len(wanted))])
        working = np.concatenate([working, wanted])
    return Bound(value, relaxed, random_objective, k, n, n_steps, relaxed - value <= within)


def _gradient(rows: Vectors, lengths: Floats, direction: Floats) -> Floats:
    return 2 * products(rows, direction) - lengths


def _smallest(values: Floats, count: int) -> Indices:
    """Return where the smallest values are, in no order."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, count - 1)[:count]


def _descend(
    rows: Vectors, lengths: Floats, weights: Floats, within: float, max_steps: int
) -> tuple[Floats, int]:
    """Lower f over these candidates until its gap is small; return weights and steps taken."""
    k = float(round(weights.sum()))
    table = rows.astype(np.float64)
    centre = table.mean(axis=0)
    table -= centre
    linear = 2 * k * (table @ centre) - lengths
    columns = np.ascontiguousarray(table.T)
    step = 1 / (2 * _largest_eigenvalue(table) + 1e-9)

    def gradient(at: Floats) -> Floats:
        return np.asarray(2 * np.vecdot(table, np.vecdot(columns, at)) + linear)

    ahead, momentum = weights, 1.0
    for n_steps in range(1, max_steps + 1):
        following = _onto_capped_simplex(ahead - step * gradient(ahead), k)
        if (ahead - following) @ (following - weights) > 0:
            momentum = 1.0  # the momentum points uphill
        grown = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
        ahead = following + (momentum - 1) / grown * (following - weights)
        weights, momentum = following, grown
        if n_steps % LOOK_EVERY == 0:
            slope = gradient(weights)
            if weights @ slope - slope[_smallest(slope, int(k))].sum() <= within:
                return weights, n_steps
    return weights, max(max_steps, 1)


def _largest_eigenvalue(table: Floats) -> float:
    """Return the largest eigenvalue of table' table, a little too large, by power iteration."""
    vector = table[int(np.argmax(np.vecdot(table, table)))]
    found = 0.0
    for _ in range(60):
        size = float(np.linalg.norm(vector))
        if size == 0:
            return 0.0
        vector = vector / size
        vector = (table @ vector) @ table
        found = float(np.linalg.norm(vector))
    return 1.1 * found


def _onto_capped_simplex(point: Floats, total: float) -> Floats:
    """Return the nearest w with 0 <= w <= 1 and Σ w = total: clip(point - shift, 0, 1).

    The shift is found by Newton's method, kept between two shifts that are too low and too high.
    """
    low, high = float(point.min()) - 1.0, float(point.max())
    shift = (low + high) / 2
    clipped = np.clip(point - shift, 0.0, 1.0)
    for _ in range(100):
        excess = float(clipped.sum()) - total
        if abs(excess) <= 1e-12 * max(total, 1.0):
            break
        low, high = (shift, high) if excess > 0 else (low, shift)
        inside = np.count_nonzero((clipped > 0) & (clipped < 1))
        shift += excess / inside if inside else math.inf
        if not low < shift < high:
            shift = (low + high) / 2
        clipped = np.clip(point - shift, 0.0, 1.0)
    return clipped
