"""From columns to named estimates: which figures a run or a study reports, of which slices.

The arithmetic is in the pure rooms; here it is applied to every slice, and each result gets its
name, its unit, its evidence and its interval.
"""

from __future__ import annotations

from speedbench.summary.arms import Arm, Method, StudyRun
from speedbench.summary.columns import RunColumns
from speedbench.summary.comparison import Pairs
from speedbench.summary.evidence import difference, total
from speedbench.summary.of_run import of_run, resumed
from speedbench.summary.of_study import of_study

__all__ = [
    "Arm",
    "Method",
    "Pairs",
    "RunColumns",
    "StudyRun",
    "difference",
    "of_run",
    "of_study",
    "resumed",
    "total",
]
