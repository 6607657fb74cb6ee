"""Whether this client, and that server, are fit to measure.

`client`: the load client against a server whose schedule is known, at one number of streams after
another.  `machine`: what of this machine limits it.  `server`: a server somebody wants to measure.
"""

from __future__ import annotations

from speedbench.doctor.client import Plan, measured
from speedbench.doctor.machine import Fact, machine_facts
from speedbench.doctor.server import Check, checked
from speedbench.doctor.verdict import CANNOT_TELL, NO, YES, Answer, Level, answer, judged

__all__ = [
    "CANNOT_TELL",
    "NO",
    "YES",
    "Answer",
    "Check",
    "Fact",
    "Level",
    "Plan",
    "answer",
    "checked",
    "judged",
    "machine_facts",
    "measured",
]
