"""Sums of steps per prompt: everything that a figure and its interval need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.acceptance._steps import Steps
from speedbench.errors import TraceError

Floats = NDArray[np.float64]

TREE_NOTE = "drafts are trees: an accepted token has no chain position"


class Ratio(NamedTuple):
    """Numerators and denominators per unit of a ratio of sums, and why it is empty if it is.

    `is_share` says that the numerator counts some of what the denominator counts, so that the ratio
    lies in [0, 1] (`speedbench.stats.share_interval`).
    """

    num: Floats
    den: Floats
    note: str = ""
    is_share: bool = False

    @property
    def value(self) -> float:
        """The ratio of the sums; NaN where nothing is in the denominator."""
        den = float(self.den.sum())
        return float(self.num.sum()) / den if den > 0 else float("nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class Sums:
    """Sums over the steps of each unit (a prompt, unless the caller chose otherwise).

    Rows are units; `at_risk` and `accepted_at` have one column per draft position 1 .. γ.

    Attributes
    ----------
    requests, requests_with_steps : (P,)
        Requests of the unit, and those that had at least one decode step.
    steps, tokens : (P,)
        Decode steps, and tokens emitted in them (the prefill token is in neither).
    request_al : (P,)
        Sum over the unit's requests of the request's own AL.
    unknown_steps : (P,)
        Steps whose drafted or accepted counts are unknown.
    steps_of_totals : (P,)
        Steps that are known by their number alone (`sums_of_totals`).
    drafted, accepted : (P,)
        Tokens drafted, and drafted tokens accepted, in the steps that tell.
    steps_with_draft, tokens_with_draft : (P,)
        Steps that drafted at least one token, and the tokens that came out of them.
    at_risk, accepted_at : (P, γ)
        Steps with ``c >= i and a >= i - 1``, and those of them with ``a >= i``.
    drafted_at : (P, γ)
        Steps that drafted position i, whatever came of it.
    """

    requests: Floats
    requests_with_steps: Floats
    steps: Floats
    tokens: Floats
    request_al: Floats
    unknown_steps: Floats
    steps_of_totals: Floats
    drafted: Floats
    accepted: Floats
    steps_with_draft: Floats
    tokens_with_draft: Floats
    at_risk: Floats
    accepted_at: Floats
    drafted_at: Floats
    tree: bool = False

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def max_draft(self) -> int:
        """The longest draft, γ."""
        return int(self.at_risk.shape[1])

    def take(self, units: NDArray[Any] | Sequence[int]) -> Sums:
        """Return the chosen units (mask or indices), for a slice by category and the like."""
        rows = np.asarray(units)
        chosen = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if field.name != "tree"
        }
        return Sums(**chosen, tree=self.tree)

    @property
    def why_no_rates(self) -> str:
        """Empty where rates can be given, else the reason."""
        if self.tree:
            return TREE_NOTE
        if total := int(self.steps_of_totals.sum()):
            return f"only totals are known of {total} steps"
        return self._why_no_drafts or ("" if self.max_draft else "no step drafted anything")

    @property
    def al_per_step(self) -> Ratio:
        """Tokens over steps: the AL that Eq. 3 needs."""
        return Ratio(self.tokens, self.steps)

    @property
    def al_per_request(self) -> Ratio:
        """Sum of the requests' own AL over requests that have one."""
        return Ratio(self.request_al, self.requests_with_steps)

    @property
    def al_given_draft(self) -> Ratio:
        """Tokens over steps, of the steps that drafted; empty where drafts are unknown."""
        if self._why_no_drafts or self.steps_of_totals.any():
            return self._empty(self.why_no_rates)
        return Ratio(self.tokens_with_draft, self.steps_with_draft)

    @property
    def acceptance_share(self) -> Ratio:
        """Accepted over drafted tokens; empty where drafts are unknown."""
        if self._why_no_drafts:
            return self._empty(self._why_no_drafts)
        return Ratio(self.accepted, self.drafted, is_share=True)

    def rate(self, position: int) -> Ratio:
        """Conditional acceptance rate of draft position 1 .. γ."""
        if self.why_no_rates:
            return self._empty(self.why_no_rates)
        if not 1 <= position <= self.max_draft:
            return self._empty(f"no step drafted position {position}")
        column = position - 1
        return Ratio(self.accepted_at[:, column], self.at_risk[:, column], is_share=True)

    def eq1_columns(self) -> Floats:
        """Return (P, 2 γ): `accepted_at`, then `at_risk`, for intervals of Eq. 1."""
        return np.concatenate([self.accepted_at, self.at_risk], axis=1)

    @property
    def _why_no_drafts(self) -> str:
        unknown, steps = int(self.unknown_steps.sum()), int(self.steps.sum())
        return f"drafted counts unknown for {unknown} of {steps} steps" if unknown else ""

    def _empty(self, note: str) -> Ratio:
        zeros = np.zeros(len(self))
        return Ratio(zeros, zeros, note)


def sums_by(steps: Steps, unit: ArrayLike | None = None, n_units: int | None = None) -> Sums:
    """Add up steps per unit, usually per prompt.

    Parameters
    ----------
    steps : Steps
    unit : (steps.n_requests,) array_like of int, optional
        The unit each request belongs to; default: every request is its own.
    n_units : int, optional
        Default: one more than the largest index.

    Returns
    -------
    Sums
        With one row per unit, those without steps included.

    Examples
    --------
    Two requests of prompt 0, one of prompt 1 whose first token ended the sequence:

    >>> from speedbench.acceptance import Steps, sums_by
    >>> steps = Steps.from_arrays([0, 0, 1], [4, 1, 2], drafted=[3, 3, 3], accepted=[3, 0, 1],
    ...                           n_requests=3)
    >>> sums = sums_by(steps, [0, 0, 1])
    >>> sums.tokens, sums.steps, sums.requests
    (array([7., 0.]), array([3., 0.]), array([2., 1.]))
    >>> sums.at_risk[0], sums.accepted_at[0]
    (array([3., 2., 1.]), array([2., 1., 1.]))
    """
    of_request = _units(steps, unit)
    total = int(of_request.max()) + 1 if len(of_request) else 0
    if n_units is not None:
        if n_units < total:
            raise TraceError(f"unit index {total - 1} is outside the {n_units} units stated")
        total = n_units
    add = _adder(steps)

    def of_units(per_request: Floats) -> Floats:
        added = np.bincount(of_request, weights=per_request, minlength=total)
        return added.astype(np.float64, copy=False)

    n_steps, n_tokens = add(None), add(steps.emitted)
    has_steps = n_steps > 0
    own_al = np.divide(n_tokens, n_steps, out=np.zeros_like(n_tokens), where=has_steps)
    all_known = bool(steps.known.all())
    drafted = steps.drafted if all_known else np.where(steps.known, steps.drafted, 0)
    accepted = steps.accepted if all_known else np.where(steps.known, steps.accepted, 0)
    at_risk, accepted_at, drafted_at = _positions(steps, drafted, add, of_units)
    always = len(drafted) > 0 and int(drafted.min()) > 0
    return Sums(
        requests=of_units(np.ones(steps.n_requests)),
        requests_with_steps=of_units(has_steps.astype(np.float64)),
        steps=of_units(n_steps),
        tokens=of_units(n_tokens),
        request_al=of_units(own_al),
        unknown_steps=of_units(n_steps * 0 if all_known else add(~steps.known)),
        steps_of_totals=np.zeros(total),
        drafted=of_units(add(drafted)),
        accepted=of_units(add(accepted)),
        steps_with_draft=of_units(n_steps if always else add(drafted > 0)),
        tokens_with_draft=of_units(n_tokens if always else add(steps.emitted * (drafted > 0))),
        at_risk=at_risk,
        accepted_at=accepted_at,
        drafted_at=drafted_at,
        tree=steps.shape == "tree",
    )


def sums_of_totals(
    tokens: ArrayLike,
    steps: ArrayLike,
    drafted: ArrayLike,
    accepted: ArrayLike,
    unit: ArrayLike,
    n_units: int,
) -> Sums:
    """Add up requests of which only totals are known: how many steps, not which.

    Acceptance lengths and the share of drafts accepted can be given; rates by position cannot.

    Parameters
    ----------
    tokens, steps : (n,) array_like of int
        Tokens emitted in decode and decode steps, per request.
    drafted, accepted : (n,) array_like
        Draft tokens, and those accepted, before any cut.
    unit : (n,) array_like of int
        The unit each request belongs to.
    n_units : int

    Examples
    --------
    >>> from speedbench.acceptance import sums_of_totals
    >>> sums = sums_of_totals([30, 12], [10, 6], [30, 18], [20, 6], unit=[0, 1], n_units=2)
    >>> sums.al_per_step.value, sums.al_per_request.value, sums.acceptance_share.value
    (2.625, 2.5, 0.5416666666666666)
    >>> sums.rate(1).note
    'only totals are known of 16 steps'
    """
    of_unit = np.asarray(unit, np.intp)

    def add(values: ArrayLike) -> Floats:
        weights = np.asarray(values, np.float64)
        return np.bincount(of_unit, weights=weights, minlength=n_units).astype(np.float64)

    n_steps = np.asarray(steps, np.float64)
    with_steps = n_steps > 0
    own = np.divide(tokens, n_steps, out=np.zeros(len(n_steps)), where=with_steps)
    empty = np.zeros((n_units, 0))
    return Sums(
        requests=add(np.ones(len(n_steps))),
        requests_with_steps=add(with_steps),
        steps=add(n_steps),
        tokens=add(tokens),
        request_al=add(own),
        unknown_steps=np.zeros(n_units),
        steps_of_totals=add(n_steps),
        drafted=add(drafted),
        accepted=add(accepted),
        steps_with_draft=np.zeros(n_units),
        tokens_with_draft=np.zeros(n_units),
        at_risk=empty,
        accepted_at=empty,
        drafted_at=empty,
    )


def add_sums(one: Sums, other: Sums) -> Sums:
    """Return the sums of the same units over two sets of requests.

    >>> from speedbench.acceptance import Steps, add_sums, sums_by, sums_of_totals
    >>> known = sums_by(Steps.from_arrays([0], [4], drafted=[3], accepted=[3]))
    >>> add_sums(known, sums_of_totals([2], [2], [6], [0], unit=[0], n_units=1)).al_per_step.value
    2.0
    """
    widest = max(one.max_draft, other.max_draft)

    def both(name: str) -> Floats:
        a, b = getattr(one, name), getattr(other, name)
        if a.ndim == 2:
            a, b = (np.pad(c, ((0, 0), (0, widest - c.shape[1]))) for c in (a, b))
        return np.asarray(a + b)

    names = [field.name for field in fields(Sums) if field.name != "tree"]
    return Sums(**{name: both(name) for name in names}, tree=one.tree or other.tree)


def merge_sums(parts: Sequence[Sums]) -> Sums:
    """Stack the units of several runs, as if they had been one run.

    >>> from speedbench.acceptance import Steps, merge_sums, sums_by
    >>> one = sums_by(Steps.from_arrays([0], [4], drafted=[3], accepted=[3]))
    >>> two = sums_by(Steps.from_arrays([0], [2], drafted=[5], accepted=[1]))
    >>> both = merge_sums([one, two])
    >>> len(both), both.max_draft, both.al_per_step.value
    (2, 5, 3.0)
    """
    if not parts:
        raise TraceError("nothing to merge: no sums were given")
    widest = max(part.max_draft for part in parts)

    def stack(name: str) -> Floats:
        columns = [getattr(part, name) for part in parts]
        if columns[0].ndim == 2:
            columns = [np.pad(c, ((0, 0), (0, widest - c.shape[1]))) for c in columns]
        return np.concatenate(columns)

    names = [field.name for field in fields(Sums) if field.name != "tree"]
    return Sums(**{name: stack(name) for name in names}, tree=any(part.tree for part in parts))


def _units(steps: Steps, unit: ArrayLike | None) -> NDArray[np.intp]:
    if unit is None:
        return np.arange(steps.n_requests)
    given = np.asarray(unit)
    if given.shape != (steps.n_requests,):
        raise TraceError(
            f"units for {given.shape} requests were given, and there are {steps.n_requests}"
        )
    if given.size and (given.dtype.kind not in "iu" or int(given.min()) < 0):
        raise TraceError("units must be indices 0, 1, 2, ...")
    return given.astype(np.intp)


def _adder(steps: Steps) -> Callable[[NDArray[Any] | None], Floats]:
    """Return what adds a column (or, for None, counts rows) per request."""
    n = steps.n_requests
    in_order = len(steps) > 0 and not (steps.request[1:] < steps.request[:-1]).any()
    if in_order:
        starts = np.searchsorted(steps.request, np.arange(n + 1, dtype=np.int32))
        rows = np.diff(starts)
    else:
        rows = np.bincount(steps.request, minlength=n)
    filled = rows > 0
    first = (np.cumsum(rows) - rows)[filled]

    def add(column: NDArray[Any] | None) -> Floats:
        if column is None:
            return rows.astype(np.float64)
        if not in_order:
            return np.bincount(steps.request, weights=column, minlength=n).astype(np.float64)
        out = np.zeros(n)
        values = column.view(np.int8) if column.dtype == np.bool_ else column
        out[filled] = np.add.reduceat(values, first, dtype=np.int64)
        return out

    return add


def _positions(
    steps: Steps,
    drafted: NDArray[np.int32],
    add: Callable[[NDArray[Any] | None], Floats],
    of_units: Callable[[Floats], Floats],
) -> tuple[Floats, Floats, Floats]:
    """Return at_risk, accepted_at and drafted_at, each (units, γ)."""
    longest = 0 if steps.shape == "tree" or not len(drafted) else int(drafted.max())
    columns: tuple[list[Floats], ...] = ([], [], [])
    reached = steps.known
    for i in range(1, longest + 1):
        risk = reached & (steps.observed >= i)
        reached = risk & (steps.accepted >= i)
        for column, rows in zip(columns, (risk, reached, drafted >= i), strict=True):
            column.append(of_units(add(rows)))
    if not longest:
        empty = np.zeros((len(of_units(np.zeros(steps.n_requests))), 0))
        return empty, empty, empty
    at_risk, accepted_at, drafted_at = (np.stack(column, axis=1) for column in columns)
    return at_risk, accepted_at, drafted_at
