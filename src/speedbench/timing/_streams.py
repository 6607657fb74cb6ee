"""Columns of stamped chunks, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import TraceError

Stamps = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Streams:
    """The chunks of many requests in order of request and stamp; build with `from_arrays`.

    Attributes
    ----------
    request, at_ns, n_tokens : (m,)
        One row per chunk that holds output tokens, sorted by request, then by stamp.
    starts : (n_requests + 1,)
        Rows ``starts[r]:starts[r + 1]`` belong to request r.
    scheduled_ns, sent_ns : (n_requests,)
        When a request should have left, and when it left.
    counted : bool
        Whether the chunks tell their tokens; if not, every figure that counts tokens is NaN.
    """

    request: NDArray[np.int32]
    at_ns: Stamps
    n_tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    scheduled_ns: Stamps
    sent_ns: Stamps
    counted: bool = True

    @classmethod
    def from_arrays(
        cls,
        request: ArrayLike,
        at_ns: ArrayLike,
        n_tokens: ArrayLike | None,
        *,
        sent_ns: ArrayLike,
        scheduled_ns: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> Streams:
        """Check columns and return them as `Streams`.

        Parameters
        ----------
        request : (m,) array_like of int
            Index of the request a chunk belongs to; requests may be interleaved.
        at_ns : (m,) array_like of int
            Stamps; within a request they must not run backwards.
        n_tokens : (m,) array_like of int, or None
            Tokens in the chunk.  Chunks without tokens (a role, a usage record) are left out.
            None: no chunk tells, and every chunk given holds some; TTFT works, rates are NaN.
        sent_ns : (n_requests,) array_like of int
        scheduled_ns : (n_requests,) array_like of int, optional
            Default: as sent (closed loop).
        names : sequence of str, optional
            Names of the requests for error messages.

        Raises
        ------
        TraceError
            Unequal lengths, NaN, a stamp before its predecessor, a chunk before its request was
            sent, a request sent before it was scheduled.

        Examples
        --------
        >>> from speedbench.timing import Streams
        >>> Streams.from_arrays([0, 0], [30, 20], [1, 1], sent_ns=[10])
        Traceback (most recent call last):
        speedbench.errors.TraceError: request 0, chunk 1: stamp 20 ns runs back from 30 ns
        """
        sent = _whole(sent_ns, "sent_ns").astype(np.int64, copy=False)
        scheduled = sent
        if scheduled_ns is not None:
            scheduled = _whole(scheduled_ns, "scheduled_ns").astype(np.int64, copy=False)
        rows, at = _whole(request, "request"), _whole(at_ns, "at_ns")
        counted = n_tokens is not None
        tokens = np.ones(len(rows), np.int32) if n_tokens is None else _whole(n_tokens, "n_tokens")
        if not len(rows) == len(at) == len(tokens) or len(scheduled) != len(sent):
            raise TraceError("columns of chunks, or of requests, have unequal lengths")
        _check_requests(rows, tokens, scheduled, sent, names)
        rows = rows.astype(np.int32, copy=False)
        # A stable sort keeps the order of arrival within a request; sorted input is left alone.
        if (rows[1:] < rows[:-1]).any():
            order = np.argsort(rows, kind="stable")
            rows, at, tokens = rows[order], at[order], tokens[order]
        _check_stamps(rows, at, _starts(rows, len(sent)), sent, names)
        if not tokens.all():
            keep = tokens > 0
            rows, at, tokens = rows[keep], at[keep], tokens[keep]
        return cls(
            request=rows,
            at_ns=at.astype(np.int64, copy=False),
            n_tokens=tokens.astype(np.int32, copy=False),
            starts=_starts(rows, len(sent)),
            scheduled_ns=scheduled,
            sent_ns=sent,
            counted=counted,
        )

    def __len__(self) -> int:
        return len(self.sent_ns)

    @property
    def n_chunks(self) -> NDArray[np.int64]:
        """Chunks with tokens, per request."""
        return np.diff(self.starts)

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Output tokens per request, those of the first chunk included (chunks, if not counted)."""
        has = self.n_chunks > 0
        out = np.zeros(len(self), np.int64)
        out[has] = np.add.reduceat(self.n_tokens, self.starts[:-1][has], dtype=np.int64)
        return out

    @property
    def first_tokens(self) -> NDArray[np.int64]:
        """Tokens of the first chunk per request; 0 where no token came."""
        return _at(self.n_tokens.astype(np.int64), self.starts[:-1], self.n_chunks > 0)

    @property
    def first_ns(self) -> NDArray[np.float64]:
        """Stamp of the first token, NaN where none came."""
        return self._stamp(self.starts[:-1])

    @property
    def last_ns(self) -> NDArray[np.float64]:
        """Stamp of the last token, NaN where none came."""
        return self._stamp(self.starts[1:] - 1)

    def since(self, start: str) -> Stamps:
        """Return `sent_ns` or `scheduled_ns`, by the name "sent" or "scheduled"."""
        return {"sent": self.sent_ns, "scheduled": self.scheduled_ns}[start]

    def _stamp(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        # Beyond 2^53 ns (104 days of uptime) a float rounds, by less than 1 us for any clock.
        has = self.n_chunks > 0
        return np.where(has, _at(self.at_ns, rows, has).astype(np.float64), np.nan)


def _at(
    values: NDArray[np.int64], rows: NDArray[np.int64], has: NDArray[np.bool_]
) -> NDArray[np.int64]:
    out = np.zeros(len(rows), np.int64)
    out[has] = values[rows[has]]
    return out


def _starts(rows: NDArray[Any], n: int) -> NDArray[np.int64]:
    """Return where each request begins in sorted rows, and their end."""
    return np.searchsorted(rows, np.arange(n + 1, dtype=rows.dtype), side="left").astype(np.int64)


def _whole(values: ArrayLike, column: str) -> NDArray[Any]:
    """Return whole numbers in whatever integer type they came."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise TraceError(f"column {column} has {array.ndim} dimensions, and one is needed")
    if array.dtype.kind in "iu":
        return array
    floats = array.astype(np.float64)
    bad = ~(np.isfinite(floats) & (floats == np.floor(floats)))
    if bad.any():
        row = int(np.argmax(bad))
        raise TraceError(f"row {row}: {column} is {array[row]}, not a whole number")
    return floats.astype(np.int64)


def _name(index: int, names: Sequence[str] | None) -> Any:
    return names[index] if names is not None and index < len(names) else index


def _check_requests(
    rows: NDArray[Any],
    tokens: NDArray[Any],
    scheduled: Stamps,
    sent: Stamps,
    names: Sequence[str] | None,
) -> None:
    early = sent < scheduled
    if early.any():
        index = int(np.argmax(early))
        raise TraceError(
            f"request {_name(index, names)}: sent {scheduled[index] - sent[index]} ns "
            "before it was scheduled"
        )
    if len(rows) == 0:
        return
    if int(rows.min()) < 0 or int(rows.max()) >= len(sent):
        raise TraceError(f"a chunk belongs to none of the {len(sent)} requests sent")
    if int(tokens.min()) < 0 or int(tokens.max()) >= 2**31:
        row = int(np.argmax((tokens < 0) | (tokens >= 2**31)))
        chunk = int(np.count_nonzero(rows[:row] == rows[row]))
        raise TraceError(
            f"request {_name(int(rows[row]), names)}, chunk {chunk}: {tokens[row]} tokens"
        )


def _check_stamps(
    rows: NDArray[Any],
    at: NDArray[Any],
    starts: NDArray[np.int64],
    sent: Stamps,
    names: Sequence[str] | None,
) -> None:
    # Stamps fall back between requests, and must not within one.
    falls = np.flatnonzero(at[1:] < at[:-1]) + 1
    falls = falls[rows[falls] == rows[falls - 1]]
    if len(falls):
        row = int(falls[0])
        index = int(rows[row])
        raise TraceError(
            f"request {_name(index, names)}, chunk {row - int(starts[index])}: "
            f"stamp {at[row]} ns runs back from {at[row - 1]} ns"
        )
    has = np.diff(starts) > 0
    first = np.zeros(len(sent), np.int64)
    first[has] = at[starts[:-1][has]]
    early = has & (first < sent)
    if early.any():
        index = int(np.argmax(early))
        raise TraceError(
            f"request {_name(index, names)}, chunk 0: stamp {first[index]} ns is before the "
            f"request was sent at {sent[index]} ns"
        )
