"""Columns of decode steps, checked once, so that the figures need no checks of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import TraceError

Shape = Literal["chain", "tree"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Steps:
    """Decode steps of many requests, one row each; build with `Steps.from_arrays`.

    Attributes
    ----------
    request : (n,) int
        Index of the request, ``0 .. n_requests - 1``.
    emitted : (n,) int
        Tokens that came out of the step.
    drafted, accepted, observed : (n,) int
        Tokens proposed, tokens accepted, and draft positions whose verdict was observed (c_j of
        docs/explanation/acceptance-length.md).  Meaningless where `known` is False.
    known : (n,) bool
        Whether drafted and accepted counts are known for the step.
    truncated : (n,) bool
        The step was cut by end-of-sequence, a stop string or the token limit.
    n_requests : int
        Requests, those without any decode step counted in.
    shape : {"chain", "tree"}
        Whether a draft is a chain of positions or a tree, where positions have no rate.
    """

    request: NDArray[np.int32]
    emitted: NDArray[np.int32]
    drafted: NDArray[np.int32]
    accepted: NDArray[np.int32]
    observed: NDArray[np.int32]
    known: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    n_requests: int
    shape: Shape = "chain"

    @classmethod
    def from_arrays(
        cls,
        request: ArrayLike,
        emitted: ArrayLike,
        *,
        drafted: ArrayLike | None = None,
        accepted: ArrayLike | None = None,
        observed: ArrayLike | None = None,
        truncated: ArrayLike | None = None,
        n_requests: int | None = None,
        shape: Shape = "chain",
        names: Sequence[str] | None = None,
    ) -> Steps:
        """Check columns and return them as `Steps`.

        Parameters
        ----------
        request, emitted : (n,) array_like of int
            Steps of one request appear in their order; requests may be interleaved.
        drafted, accepted : (n,) array_like, optional
            None, or NaN in a row, means unknown: acceptance lengths still work, rates do not.
        observed : (n,) array_like, optional
            Where None or NaN it is derived: every drafted position, or for a truncated step as
            many as tokens came out, because a cut hides the verdicts behind it.
        truncated : (n,) array_like of bool, optional
            Default: no step was cut.
        n_requests : int, optional
            Default: one more than the largest index.
        shape : {"chain", "tree"}
        names : sequence of str, optional
            Names of the requests for error messages; default: their index.

        Raises
        ------
        TraceError
            Columns of unequal length, NaN or fractions where a count belongs, accepted > drafted,
            observed > drafted, emitted > accepted + 1, a whole step that does not emit its accepted
            tokens and one more.  The sentence names the request and the step within it.

        Examples
        --------
        >>> from speedbench.acceptance import Steps
        >>> steps = Steps.from_arrays([0, 0, 1], [4, 1, 2], drafted=[3, 3, 3],
        ...                           accepted=[3, 0, 2], truncated=[False, False, True])
        >>> steps.observed
        array([3, 3, 2], dtype=int32)
        >>> Steps.from_arrays([0], [6], drafted=[4], accepted=[5])
        Traceback (most recent call last):
        speedbench.errors.TraceError: request 0, step 0: accepted 5 of 4 drafted
        """
        req = _counts(request, "request", None, names)
        emit = _counts(emitted, "emitted", req, names)
        n = len(req)
        cut = _flags(truncated, n)
        total = _n_requests(req, n_requests)
        draft, draft_known = _maybe_counts(drafted, "drafted", req, names)
        acc, acc_known = _maybe_counts(accepted, "accepted", req, names)
        known = draft_known & acc_known
        seen, seen_known = _maybe_counts(observed, "observed", req, names)
        derived = np.where(cut, np.minimum(draft, emit), draft)
        if observed is None:
            seen = derived
        elif not seen_known.all():
            seen = np.where(seen_known, seen, derived).astype(np.int32)
        steps = cls(
            request=req,
            emitted=emit,
            drafted=draft,
            accepted=acc,
            observed=seen.astype(np.int32, copy=False),
            known=known,
            truncated=cut,
            n_requests=total,
            shape=shape,
        )
        _check(steps, names)
        return steps

    def __len__(self) -> int:
        return len(self.request)

    def select(self, rows: NDArray[Any] | slice) -> Steps:
        """Return the given steps (mask, indices or slice); the requests stay numbered as they are.

        >>> from speedbench.acceptance import Steps
        >>> len(Steps.from_arrays([0, 0, 1], [1, 2, 3]).select(slice(0, 2)))
        2
        """
        return Steps(
            request=self.request[rows],
            emitted=self.emitted[rows],
            drafted=self.drafted[rows],
            accepted=self.accepted[rows],
            observed=self.observed[rows],
            known=self.known[rows],
            truncated=self.truncated[rows],
            n_requests=self.n_requests,
            shape=self.shape,
        )

    def of_requests(self, wanted: NDArray[np.bool_]) -> Steps:
        """Return the steps of the requests that the mask (n_requests,) wants, renumbered from 0.

        >>> import numpy as np
        >>> from speedbench.acceptance import Steps
        >>> steps = Steps.from_arrays([0, 1, 2], [1, 2, 3])
        >>> some = steps.of_requests(np.array([False, True, True]))
        >>> some.request, some.n_requests
        (array([0, 1], dtype=int32), 2)
        """
        if wanted.shape != (self.n_requests,):
            raise TraceError(
                f"a mask of {wanted.shape} does not choose among {self.n_requests} requests"
            )
        chosen = self.select(wanted[self.request])
        renumbered = (np.cumsum(wanted) - 1).astype(np.int32)
        return Steps(
            request=renumbered[chosen.request],
            emitted=chosen.emitted,
            drafted=chosen.drafted,
            accepted=chosen.accepted,
            observed=chosen.observed,
            known=chosen.known,
            truncated=chosen.truncated,
            n_requests=int(wanted.sum()),
            shape=self.shape,
        )


def _where(row: int, request: NDArray[np.int32], names: Sequence[str] | None) -> str:
    index = int(request[row])
    step = int(np.count_nonzero(request[:row] == index))
    name = names[index] if names is not None and index < len(names) else index
    return f"request {name}, step {step}"


def _counts(
    values: ArrayLike, column: str, request: NDArray[np.int32] | None, names: Sequence[str] | None
) -> NDArray[np.int32]:
    """Return whole, non-negative numbers, or raise naming the first row that is not one."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise TraceError(f"column {column} has {array.ndim} dimensions, and one is needed")
    if request is not None and len(array) != len(request):
        raise TraceError(f"column {column} has {len(array)} rows, and request has {len(request)}")
    if array.size == 0:
        return np.zeros(0, np.int32)
    whole = array.dtype.kind in "iu"
    if whole and int(array.min()) >= 0 and int(array.max()) < 2**31:
        return array.astype(np.int32, copy=False)
    floats = array.astype(np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~((floats >= 0) & (floats < 2**31) & (floats == np.floor(floats)))
    if bad.any():
        row = int(np.argmax(bad))
        place = f"row {row}" if request is None else _where(row, request, names)
        raise TraceError(f"{place}: {column} is {array[row]}, not a count")
    return floats.astype(np.int32)


def _maybe_counts(
    values: ArrayLike | None,
    column: str,
    request: NDArray[np.int32],
    names: Sequence[str] | None,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return counts with 0 where unknown, and the mask of the known."""
    n = len(request)
    if values is None:
        return np.zeros(n, np.int32), np.zeros(n, np.bool_)
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        return _counts(array, column, request, names), np.ones(n, np.bool_)
    floats = array.astype(np.float64)
    known = ~np.isnan(floats)
    return _counts(np.where(known, floats, 0.0), column, request, names), known


def _flags(truncated: ArrayLike | None, n: int) -> NDArray[np.bool_]:
    if truncated is None:
        return np.zeros(n, np.bool_)
    array = np.asarray(truncated)
    if array.shape != (n,):
        raise TraceError(f"column truncated has shape {array.shape}, and ({n},) is needed")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        # NaN and None would count as true without a word.
        raise TraceError("column truncated holds something else than true and false")
    return array.astype(np.bool_, copy=False)


def _n_requests(request: NDArray[np.int32], given: int | None) -> int:
    largest = int(request.max()) + 1 if len(request) else 0
    if given is None:
        return largest
    if given < largest:
        raise TraceError(f"request index {largest - 1} is outside the {given} requests stated")
    return given


def _check(steps: Steps, names: Sequence[str] | None) -> None:
    drafted, accepted, emitted = steps.drafted, steps.accepted, steps.emitted
    known, cut = steps.known, steps.truncated

    def stop(bad: NDArray[np.bool_], text: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            row_text = text.format(
                accepted=accepted[row],
                drafted=drafted[row],
                emitted=emitted[row],
                observed=steps.observed[row],
                expected=accepted[row] + 1,
            )
            raise TraceError(f"{_where(row, steps.request, names)}: {row_text}")

    stop(known & (accepted > drafted), "accepted {accepted} of {drafted} drafted")
    stop(
        known & (steps.observed > drafted), "verdicts on {observed} of {drafted} drafted positions"
    )
    stop(
        known & (emitted > accepted + 1), "emitted {emitted} tokens with {accepted} accepted drafts"
    )
    stop(
        known & ~cut & (emitted <= accepted),
        "emitted {emitted} of {expected} tokens, and is not marked as truncated",
    )
    stop(~cut & (emitted == 0), "emitted no token, and is not marked as truncated")
