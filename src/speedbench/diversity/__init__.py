"""Sets of prompts that are unlike each other: chosen, certified, bounded, described, redrawn.

All of it works on unit vectors (`unit_rows`), one for each prompt, and never forms all pairs of a
pool.  Chance comes in as `rng`.
"""

from speedbench.diversity._bound import Bound, lower_bound
from speedbench.diversity._entropy import compression_ratio, unigram_entropy_bits
from speedbench.diversity._objective import mean_similarity, objective, similarity_sums
from speedbench.diversity._pictures import (
    FlatMap,
    OrderedMatrix,
    Pair,
    flat_map,
    nearest_pairs,
    ordered_matrix,
)
from speedbench.diversity._quotas import Quota
from speedbench.diversity._selection import (
    Selection,
    Starts,
    select,
    select_from_starts,
)
from speedbench.diversity._similarity import (
    MeanSimilarity,
    RandomDraws,
    mean_similarity_interval,
    random_draws,
)
from speedbench.diversity._stability import (
    Draw,
    Stability,
    kendall_distance,
    range_share,
    selected_draw,
    stability,
    uniform_draw,
)
from speedbench.diversity._swaps import Certificate, Swap, check_swaps
from speedbench.diversity._vectors import unit_rows

__all__ = [
    "Bound",
    "Certificate",
    "Draw",
    "FlatMap",
    "MeanSimilarity",
    "OrderedMatrix",
    "Pair",
    "Quota",
    "RandomDraws",
    "Selection",
    "Stability",
    "Starts",
    "Swap",
    "check_swaps",
    "compression_ratio",
    "flat_map",
    "kendall_distance",
    "lower_bound",
    "mean_similarity",
    "mean_similarity_interval",
    "nearest_pairs",
    "objective",
    "ordered_matrix",
    "random_draws",
    "range_share",
    "select",
    "select_from_starts",
    "selected_draw",
    "similarity_sums",
    "stability",
    "uniform_draw",
    "unigram_entropy_bits",
    "unit_rows",
]
