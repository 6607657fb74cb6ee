"""Two proxies of how predictable a text is, to check that entropy tiers are ordered."""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import ArrayLike


def compression_ratio(data: bytes) -> float:
    """Return compressed size over size, by zlib at its best; NaN of nothing.

    Low for repetitive text.  Deflate looks back 32 KiB and adds a few bytes of its own, so compare
    texts of about the same length, of some kilobytes at least.

    Examples
    --------
    >>> from speedbench.diversity import compression_ratio
    >>> round(compression_ratio(b"all work and no play " * 100), 2)
    0.02
    """
    return len(zlib.compress(data, 9)) / len(data) if data else math.nan


def unigram_entropy_bits(token_ids: ArrayLike) -> float:
    """Return the entropy of the token frequencies, in bits a token; NaN of nothing.

    The plain estimate: it grows with the length of a text up to the logarithm of the vocabulary,
    so compare texts of the same number of tokens.

    Examples
    --------
    >>> from speedbench.diversity import unigram_entropy_bits
    >>> unigram_entropy_bits([5, 5, 9, 7])
    1.5
    """
    counts = np.unique(np.asarray(token_ids), return_counts=True)[1]
    if not len(counts):
        return math.nan
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
