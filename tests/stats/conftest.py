"""Simulations with known truth live in benchmarks/, which is not a package.

Property tests neither race the machine nor depend on the day.
"""

import sys
from pathlib import Path

from hypothesis import settings

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
if BENCHMARKS not in sys.path:
    sys.path.append(BENCHMARKS)

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
