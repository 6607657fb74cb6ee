"""What is minimised: the similarity of every two prompts of a set, summed.

For a set S of vectors, the sum of x_i . x_j over all ordered pairs i != j is |s|² - Σ |x_i|², with
s = Σ x_i: one pass over k vectors, and no matrix of pairs.  For unit vectors Σ |x_i|² is k; the
squared lengths are used as they are, because rounding leaves them a little off 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from speedbench.diversity._vectors import Floats, Vectors, checked, products


def objective(vectors: ArrayLike) -> float:
    """Return Σ x_i . x_j over ordered pairs of different rows, the paper's L(S).

    Parameters
    ----------
    vectors : (k, d) array_like
        The set: unit vectors.

    Notes
    -----
    arXiv 2604.09557, section 5.  Computed in float64.

    Examples
    --------
    >>> from speedbench.diversity import objective
    >>> objective([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    2.0
    """
    rows, lengths = checked(vectors)
    total = _sum(rows)
    return float(total @ total - lengths.sum())


def mean_similarity(vectors: ArrayLike) -> float:
    """Return the mean cosine similarity over pairs of different rows; NaN for a single row.

    Examples
    --------
    >>> from speedbench.diversity import mean_similarity
    >>> round(mean_similarity([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), 4)
    0.3333
    """
    return mean_of(objective(vectors), len(np.asarray(vectors)))


def similarity_sums(vectors: ArrayLike) -> Floats:
    """Return, for each row, the sum of its similarities to the other rows.

    Examples
    --------
    >>> from speedbench.diversity import similarity_sums
    >>> similarity_sums([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]).tolist()
    [1.0, 0.0, 1.0]
    """
    rows, lengths = checked(vectors)
    total = _sum(rows)
    return products(rows, total) - lengths


def mean_of(objective: float, k: int) -> float:
    """Return an objective as a mean over pairs; NaN where there is no pair."""
    return objective / (k * (k - 1)) if k > 1 else math.nan


def _sum(rows: Vectors) -> Floats:
    return np.asarray(rows.sum(axis=0, dtype=np.float64), np.float64)
