"""The naive form of the selection lives in benchmarks/, which is not a package.

Property tests neither race the machine nor depend on the day.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from speedbench.diversity import unit_rows

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
if BENCHMARKS not in sys.path:
    sys.path.append(BENCHMARKS)

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture
def make_pool():
    """Return a function that makes unit vectors in clusters, some of them twice."""

    def make(n, dims=8, *, seed=0, twice=0, dtype=np.float32):
        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((max(n // 8, 2), dims)) + 0.5
        table = centres[rng.integers(0, len(centres), n)] + 0.5 * rng.standard_normal((n, dims))
        table[n - twice :] = table[:twice]
        return unit_rows(table, out=np.empty((n, dims), dtype))

    return make
