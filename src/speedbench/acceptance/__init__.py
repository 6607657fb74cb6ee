"""Acceptance figures of speculative decoding, from columns of decode steps.

Nothing here knows a clock, a file or an engine.  `Steps` holds one row per decode step, `sums_by`
adds them up per prompt, and every figure is a ratio of those sums, so that an interval can resample
prompts (`speedbench.stats.ratio_interval`).

Estimands (arXiv 2604.09557, Eq. 1, made precise): step j drafts d_j tokens, a_j of them are
accepted, the verdict on the first c_j is observed, and e_j tokens come out.  The prefill token
belongs to no step.
"""

from speedbench.acceptance._closed import (
    al_from_counts,
    al_from_rates,
    constant_rate_al,
    constant_rate_for_al,
    survival_from_rates,
)
from speedbench.acceptance._figures import (
    Figure,
    Rates,
    acceptance_share,
    al_at_full_draft_length,
    al_given_draft,
    al_per_request,
    al_per_step,
    conditional_rates,
    emitted_histogram,
    joint,
    marginal_rates,
)
from speedbench.acceptance._histogram import (
    chunk_convention_rates,
    mean_from_histogram,
    rates_from_histogram,
    without_prefill_chunks,
)
from speedbench.acceptance._sensitivity import Sensitivity, last_step_sensitivity
from speedbench.acceptance._slices import (
    by_group,
    by_position,
    part_of_steps,
    response_offset,
    without_tail,
)
from speedbench.acceptance._steps import Steps
from speedbench.acceptance._sums import (
    Ratio,
    Sums,
    add_sums,
    merge_sums,
    sums_by,
    sums_of_totals,
)
from speedbench.acceptance._text import Loop, distinct_ngram_share, find_loop

__all__ = [
    "Figure",
    "Loop",
    "Rates",
    "Ratio",
    "Sensitivity",
    "Steps",
    "Sums",
    "acceptance_share",
    "add_sums",
    "al_at_full_draft_length",
    "al_from_counts",
    "al_from_rates",
    "al_given_draft",
    "al_per_request",
    "al_per_step",
    "by_group",
    "by_position",
    "chunk_convention_rates",
    "conditional_rates",
    "constant_rate_al",
    "constant_rate_for_al",
    "distinct_ngram_share",
    "emitted_histogram",
    "find_loop",
    "joint",
    "last_step_sensitivity",
    "marginal_rates",
    "mean_from_histogram",
    "merge_sums",
    "part_of_steps",
    "rates_from_histogram",
    "response_offset",
    "sums_by",
    "sums_of_totals",
    "survival_from_rates",
    "without_prefill_chunks",
    "without_tail",
]
