"""Speedup of speculative decoding: projected by Eq. 3, measured, and what lies between them."""

from speedbench.speedup._estimates import (
    JointProxy,
    disagreement,
    exact,
    joint_disagreement,
    measured_speedup,
    measured_speedup_launches,
    projected_speedup,
    proxy_speedup,
)
from speedbench.speedup._model import (
    BestDraft,
    best_draft_length,
    first_order_speedup,
    relative_costs,
)

__all__ = [
    "BestDraft",
    "JointProxy",
    "best_draft_length",
    "disagreement",
    "exact",
    "first_order_speedup",
    "joint_disagreement",
    "measured_speedup",
    "measured_speedup_launches",
    "projected_speedup",
    "proxy_speedup",
    "relative_costs",
]
