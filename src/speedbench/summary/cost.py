"""What drafting and verifying cost, in target steps: c_draft and c_verify, measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from speedbench import stats
from speedbench.records import Row
from speedbench.summary.columns import OVERALL, RunColumns
from speedbench.summary.estimates import Figure, step_latency

EVIDENCE = "the engine's own clock around each iteration, batch 1"


def cost_rows(
    cell: Mapping[str, Any],
    baseline: RunColumns,
    drafter: RunColumns,
    speculating: RunColumns,
    draft_length: int,
) -> Iterator[Row]:
    """Yield c_draft and c_verify at batch 1.

    Parameters
    ----------
    cell
        Goes into the rows.
    baseline, drafter, speculating
        The target alone, the drafter alone in the target's place, and both together.
    draft_length
        γ of `speculating`.

    Notes
    -----
    c_draft is one step of the drafter over one step of the target; c_verify is what remains of a
    speculating step after γ drafter steps, over one step of the target: the first-order model
    ``S = AL / (c_verify + γ c_draft)``.
    """
    t_ar = step_latency(baseline, 1)
    t_draft = step_latency(drafter, 1)
    t_sd = step_latency(speculating, 1)
    t_ar, t_draft, t_sd = (replace(found, note="") for found in (t_ar, t_draft, t_sd))
    c_draft = stats.combine([(t_draft, 1.0), (t_ar, -1.0)], note="n counts blocks of prompts")
    step_ratio = stats.combine([(t_sd, 1.0), (t_ar, -1.0)])
    c_verify = _less(step_ratio, c_draft, draft_length)
    for name, interval in (("c_draft", c_draft), ("c_verify", c_verify)):
        figure = Figure(name, "target steps", interval, EVIDENCE)
        yield Row(cell=cell, slice=OVERALL, estimate=figure.estimate())


def _less(step_ratio: stats.Interval, c_draft: stats.Interval, times: int) -> stats.Interval:
    """Return step_ratio - times * c_draft; both standard errors are of logarithms."""
    value = step_ratio.value - times * c_draft.value
    errors = (step_ratio.value * step_ratio.se, times * c_draft.value * c_draft.se)
    return stats.Interval.from_pivot(
        value,
        math.hypot(*errors),
        min(step_ratio.df, c_draft.df),
        min(step_ratio.n, c_draft.n),
        scale="linear",
        method="sum of variances",
        note=f"a speculating step less {times} drafter steps; n counts blocks of prompts",
    )
