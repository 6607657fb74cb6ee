"""Intervals, tests and sample sizes for figures that are functions of sums over prompts.

Prompts are the independent unit: steps of one response, and turns of one conversation, are not.
Chance comes in as `rng`, and every result says which method gave it, from how many units.
"""

from speedbench.stats._interval import Interval
from speedbench.stats._launches import launches_interval, paired_launches_ratio_interval
from speedbench.stats._quantiles import mean_interval, quantile_interval
from speedbench.stats._ratios import (
    difference_interval,
    paired_ratio_interval,
    ratio_interval,
    share_interval,
)
from speedbench.stats._samples import (
    detectable_change,
    power_of_change,
    prompts_needed,
    ratio_spread,
)
from speedbench.stats._sums import METHODS, sums_interval
from speedbench.stats._tests import (
    Test,
    adjusted_confidence,
    combine,
    holm,
    holm_tests,
    non_inferiority,
    superiority,
)

__all__ = [
    "METHODS",
    "Interval",
    "Test",
    "adjusted_confidence",
    "combine",
    "detectable_change",
    "difference_interval",
    "holm",
    "holm_tests",
    "launches_interval",
    "mean_interval",
    "non_inferiority",
    "paired_launches_ratio_interval",
    "paired_ratio_interval",
    "power_of_change",
    "prompts_needed",
    "quantile_interval",
    "ratio_interval",
    "ratio_spread",
    "share_interval",
    "sums_interval",
    "superiority",
]
