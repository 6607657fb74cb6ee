"""From what an engine counted, and the chunks that arrived, to decode steps.

A chunk is a step only where the engine's own counts say so.  Both accounts are held against each
other here, every difference is given a cause, and what has none is the residual, which must be 0.

Every function takes all chunks of an answer.  The prefill emits one token, the first, which belongs
to no step; where a step's tokens came in the same chunk, that chunk is a merged one.
"""

from __future__ import annotations

from speedbench.engines.evidence._histogram import steps_from_count, steps_from_histogram
from speedbench.engines.evidence._lists import steps_from_lists
from speedbench.engines.evidence._pieces import Evidence, counted_step

__all__ = [
    "Evidence",
    "counted_step",
    "steps_from_count",
    "steps_from_histogram",
    "steps_from_lists",
]
