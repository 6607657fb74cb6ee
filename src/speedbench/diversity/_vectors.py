"""Rows of unit length: checked, scaled and multiplied in blocks, never copied whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speedbench.errors import CallError, DataError

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
Vectors: TypeAlias = NDArray[Any]
"""(n, d) float32 or float64; the rows are vectors of unit length."""

TIE = 1e-9
"""Sums of similarities that differ by less are equal: rounding of float64 is far below it."""

UNIT_TOLERANCE = 1e-3
"""How far a squared length may be from 1: rounding of float16 at 3,072 dimensions stays within."""

BLOCK_BYTES = 32 << 20
"""Size of one block in float64: as large as BLAS needs to be efficient, and small beside a pool."""


def blocks(n_rows: int, dims: int) -> Iterator[slice]:
    """Yield slices of so many rows as make a block."""
    size = max(1, BLOCK_BYTES // (8 * max(dims, 1)))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def in_blocks(vectors: Vectors, of_block: Callable[[Floats], ArrayLike]) -> Floats:
    """Return one float64 for each row; `of_block` gets some rows, as float64."""
    found = np.empty(len(vectors))
    for rows in blocks(*vectors.shape):
        found[rows] = of_block(vectors[rows].astype(np.float64))
    return found


def products(vectors: Vectors, one: Vectors) -> Floats:
    """Return each row's product with one vector, computed in float64.

    By `np.vecdot`, here and wherever one vector is multiplied: memory bounds it, so the threads of
    a matrix product gain nothing, and on a busy machine they wait for each other.
    """
    return in_blocks(vectors, lambda block: np.vecdot(block, one))


def squared_lengths(vectors: Vectors) -> Floats:
    """Return each row's squared length, computed in float64."""
    return in_blocks(vectors, lambda block: np.vecdot(block, block))


def unit_rows(
    vectors: ArrayLike, *, out: Vectors | None = None, names: Sequence[str] | None = None
) -> Vectors:
    """Return the vectors scaled to unit length.

    Parameters
    ----------
    vectors : (n, d) array_like
        Embeddings, one a row.
    out : (n, d) ndarray of float32 or float64, optional
        Where the result goes; may be `vectors` itself, which saves a copy of the pool.  A new
        float32 array when None.
    names : sequence of str, optional
        What to call each row in an error; its index when None.

    Raises
    ------
    DataError
        A vector that holds NaN or infinity, or is zero: it has no direction.

    Examples
    --------
    >>> from speedbench.diversity import unit_rows
    >>> unit_rows([[3.0, 4.0], [0.0, 2.0]]).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 1.0]]
    """
    given = _matrix(vectors)
    if out is None:
        out = np.empty(given.shape, np.float32)
    if out.shape != given.shape:
        raise CallError(f"out has shape {out.shape}, and the vectors have {given.shape}")
    for rows in blocks(*given.shape):
        block = given[rows].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            # By the largest entry first, so that squares neither overflow nor vanish.
            block /= np.maximum(np.abs(block).max(axis=1, keepdims=True, initial=0.0), 1e-300)
            lengths = np.sqrt(np.vecdot(block, block))
        _refuse(~np.isfinite(lengths), rows, names, "holds NaN or infinity: embed it again")
        _refuse(lengths == 0, rows, names, "is zero and has no direction: leave it out")
        out[rows] = block / lengths[:, None]
    return out


def checked(
    vectors: ArrayLike, *, at_least: int = 1, what: str = "candidates"
) -> tuple[Vectors, Floats]:
    """Return vectors of unit length, uncopied if they are float32 or float64, and squared lengths.

    Raises
    ------
    DataError
        No table, fewer rows than `at_least`, or a row that is not of unit length.
    """
    given = _matrix(vectors)
    if given.dtype not in (np.float32, np.float64):
        given = given.astype(np.float32 if given.dtype == np.float16 else np.float64)
    if len(given) < at_least:
        raise DataError(
            f"{len(given)} {what} are too few: at least {at_least} are needed, so add candidates "
            "or ask for fewer"
        )
    lengths = squared_lengths(given)
    everything = slice(0, len(given))
    _refuse(~np.isfinite(lengths), everything, None, "holds NaN or infinity: embed it again")
    _refuse(lengths == 0, everything, None, "is zero and has no direction: leave it out")
    off = np.abs(lengths - 1) > UNIT_TOLERANCE
    _refuse(off, everything, None, "is not of unit length: call unit_rows first")
    return given, lengths


def checked_indices(chosen: ArrayLike, n: int) -> Indices:
    """Return distinct row indices below n.

    Raises
    ------
    DataError
        An index outside the rows, or twice.
    """
    found = np.asarray(chosen, np.intp).reshape(-1)
    outside = found[(found < 0) | (found >= n)]
    if len(outside):
        raise DataError(f"candidate {outside[0]} was chosen, and the pool ends at {n - 1}")
    values, counts = np.unique(found, return_counts=True)
    if len(values) < len(found):
        raise DataError(f"candidate {values[np.argmax(counts > 1)]} was chosen twice")
    return found


def _matrix(vectors: ArrayLike) -> Vectors:
    try:
        given: Vectors = np.asarray(vectors)
    except ValueError as error:
        raise DataError(f"{_uneven(vectors)}: all need the same length") from error
    if given.ndim != 2 or given.shape[1] == 0 or given.dtype.kind not in "fiu":
        raise DataError(
            f"vectors have shape {given.shape} and type {given.dtype}: a table of numbers is "
            "needed, one row for each candidate"
        )
    return given


def _refuse(wrong: NDArray[np.bool_], rows: slice, names: Sequence[str] | None, why: str) -> None:
    if wrong.any():
        row = rows.start + int(np.argmax(wrong))
        more = int(wrong.sum()) - 1
        also = f" (and {more} more)" if more else ""
        raise DataError(f"vector {row if names is None else names[row]}{also} {why}")


def _uneven(vectors: ArrayLike) -> str:
    """Name the first row that is not as long as the first one."""
    lengths = [np.size(row) for row in vectors]  # type: ignore[union-attr]
    row = next((i for i, length in enumerate(lengths) if length != lengths[0]), 0)
    return f"vector {row} has {lengths[row]} dimensions, and vector 0 has {lengths[0]}"
