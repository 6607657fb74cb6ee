"""What to draw of a set: nearest pairs, a matrix in an order that shows groups, a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster import hierarchy
from scipy.spatial import distance

from speedbench.diversity._vectors import Floats, Indices, Vectors, checked, in_blocks
from speedbench.errors import CallError

TILE = 1024
"""Rows and columns of similarities that are held at once: 8 MB."""

MOST_ORDERED = 2000
"""A matrix of more rows is no picture, and ordering it takes minutes."""


@dataclass(frozen=True, order=True)
class Pair:
    """Two rows, `first` below `second`, and their cosine similarity."""

    similarity: float
    first: int
    second: int


@dataclass(frozen=True)
class OrderedMatrix:
    """Cosine similarities (n, n), rows and columns in `order` of the given rows."""

    order: Indices
    similarities: Floats


@dataclass(frozen=True)
class FlatMap:
    """Two coordinates of each row, and which share of the variance each of the two shows."""

    points: Floats
    explained: tuple[float, float]


def nearest_pairs(vectors: ArrayLike, m: int, *, at_least: float = -2.0) -> list[Pair]:
    """Return the m most similar pairs, the most similar first, then by index.

    Parameters
    ----------
    vectors : (n, d) array_like
        Unit vectors.  All pairs are computed, in tiles: time grows with n².
    m : int
    at_least : float
        Leave out pairs that are less similar.

    Examples
    --------
    >>> from speedbench.diversity import nearest_pairs
    >>> nearest_pairs([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], 1)
    [Pair(similarity=0.8, first=1, second=2)]
    """
    if m < 1:
        raise CallError(f"{m} nearest pairs were asked for: at least 1 is needed")
    rows, _ = checked(vectors, what="prompts")
    best = (np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp))
    bar = at_least
    for top in range(0, len(rows), TILE):
        upper = rows[top : top + TILE].astype(np.float64)
        for left in range(top, len(rows), TILE):
            tile = upper @ rows[left : left + TILE].astype(np.float64).T
            if left == top:
                tile[np.tril_indices(len(tile))] = -np.inf
            first, second = np.nonzero(tile >= bar)
            values = np.concatenate([best[0], tile[first, second]])
            firsts = np.concatenate([best[1], first + top])
            seconds = np.concatenate([best[2], second + left])
            kept = np.lexsort((seconds, firsts, -values))[:m]
            best = (values[kept], firsts[kept], seconds[kept])
            if len(kept) == m:
                bar = max(at_least, float(best[0][-1]))
    return [Pair(float(v), int(i), int(j)) for v, i, j in zip(*best, strict=True)]


def ordered_matrix(vectors: ArrayLike) -> OrderedMatrix:
    """Return all similarities, in an order that puts similar rows beside each other.

    Average linkage of cosine distances, leaves ordered so that neighbours are as similar as the
    tree allows (Bar-Joseph and others 2001).  Up to 2,000 rows.

    Examples
    --------
    >>> from speedbench.diversity import ordered_matrix
    >>> ordered_matrix([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.28, 0.96]]).order.tolist()
    [0, 2, 3, 1]
    """
    rows, _ = checked(vectors, what="prompts")
    if len(rows) > MOST_ORDERED:
        raise CallError(
            f"a matrix of {len(rows)} prompts is no picture: draw at most {MOST_ORDERED}"
        )
    table = rows.astype(np.float64)
    similarities = table @ table.T
    order = np.arange(len(table))
    if len(table) > 2:
        apart = np.maximum(1 - similarities, 0.0)
        np.fill_diagonal(apart, 0.0)
        condensed = distance.squareform((apart + apart.T) / 2, checks=False)
        tree = hierarchy.linkage(condensed, method="average", optimal_ordering=True)
        order = hierarchy.leaves_list(tree).astype(np.intp)
        # A tree can be read from either end.
        order = order if order[0] < order[-1] else order[::-1]
    return OrderedMatrix(order, np.asarray(similarities[np.ix_(order, order)]))


def flat_map(vectors: ArrayLike) -> FlatMap:
    """Return the first two principal components of the rows.

    Of each axis the sign is such that the entry furthest from 0 is positive (the first one, of
    equal entries), so that the same rows always give the same picture.

    Examples
    --------
    >>> from speedbench.diversity import flat_map
    >>> found = flat_map([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
    >>> found.points[:, 0].round(3).tolist(), round(sum(found.explained), 6)
    ([0.707, -0.707, 0.141, -0.141], 1.0)
    """
    rows, _ = checked(vectors, what="prompts")
    mean = rows.mean(axis=0, dtype=np.float64)
    axes, variance, whole = _principal_axes(rows, mean)
    points = np.zeros((len(rows), 2))
    for column, axis in enumerate(axes):
        along = _along(rows, mean, axis)
        size = np.abs(along)
        furthest = int(np.argmax(size >= size.max() * (1 - 1e-9)))
        points[:, column] = along if along[furthest] >= 0 else -along
    shares = [float(v / whole) if whole > 1e-12 else float("nan") for v in variance]
    return FlatMap(points, (shares[0], shares[1]))


def _along(rows: Vectors, mean: Floats, axis: Floats) -> Floats:
    return in_blocks(rows, lambda block: (block - mean) @ axis)


def _principal_axes(rows: Vectors, mean: Floats) -> tuple[Floats, Floats, float]:
    """Return (2, d) axes of largest variance, their variances, and the variance in all."""
    n, dims = rows.shape
    if n <= dims:
        table = rows.astype(np.float64) - mean
        values, vectors = np.linalg.eigh(table @ table.T)
        axes = vectors[:, ::-1][:, :2].T @ table
        axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-150)
    else:
        scatter = np.zeros((dims, dims))
        for start in range(0, n, TILE * 8):
            table = rows[start : start + TILE * 8].astype(np.float64) - mean
            scatter += table.T @ table
        values, vectors = np.linalg.eigh(scatter)
        axes = vectors[:, ::-1][:, :2].T
    found = np.zeros((2, dims))
    found[: len(axes)] = axes
    largest = np.zeros(2)
    largest[: min(2, len(values))] = np.maximum(values[::-1][:2], 0.0)
    return found, largest, float(np.maximum(values, 0.0).sum())
