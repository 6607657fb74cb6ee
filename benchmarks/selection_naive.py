"""The paper's selection with all pairs in a matrix: the reference for sets, cost and memory.

arXiv 2604.09557, section 5, Algorithm 1, in float64.  Where the paper leaves a tie open, the lowest
index is taken, as in `speedbench.diversity.select`; an exchange has to lower the sum by 1e-9.
"""

from __future__ import annotations

import numpy as np

TIE = 1e-9


def lowest(values: np.ndarray) -> int:
    """Return the first index whose value is the least, ties included."""
    return int(np.flatnonzero(values <= values.min() + TIE)[0])


def naive_selection(vectors: np.ndarray, k: int, first: int) -> tuple[list[int], int, float]:
    """Return the chosen rows, the number of exchanges, and the objective."""
    table = vectors.astype(np.float64)
    pairs = table @ table.T
    np.fill_diagonal(pairs, 0.0)
    chosen, sums = [first], pairs[first].copy()
    while len(chosen) < k:
        sums[chosen] = np.inf
        chosen.append(lowest(sums))
        sums += pairs[chosen[-1]]
    n_swaps = 0
    while len(chosen) < len(pairs):
        sums = pairs[chosen].sum(axis=0)
        # (out, in): similarities of `in` to those who stay, less those of `out`.
        change = sums[None, :] - pairs[chosen] - sums[chosen][:, None]
        change[:, chosen] = np.inf
        if change.min() > -TIE:
            break
        into = lowest(change.min(axis=0))
        equal = np.flatnonzero(change[:, into] <= change[:, into].min() + TIE)
        out = min(equal, key=lambda slot: chosen[slot])
        chosen[out] = into
        n_swaps += 1
    return chosen, n_swaps, float(pairs[np.ix_(chosen, chosen)].sum())
