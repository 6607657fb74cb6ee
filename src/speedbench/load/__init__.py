"""The load client: sends requests, stamps what comes back, and writes all of it to journals.

`drive` leads; workers (`speedbench.client.worker`), one process each, do the sending and reading.
"""

from __future__ import annotations

from speedbench.load.arrivals import constant_arrivals, poisson_arrivals, recorded_arrivals
from speedbench.load.conversation import Conversation, reject_too_long
from speedbench.load.crew import Worker, started_workers
from speedbench.load.driver import Observer, Shape, TooManyFailuresError, Wire, answers, drive
from speedbench.load.health import SelfCheck, self_check
from speedbench.load.plan import (
    conversations,
    first_turn,
    histories,
    setup_of,
    shape_of,
    spent_s,
    workers_for,
)
from speedbench.load.recording import (
    MEASURED,
    Exchange,
    Recording,
    cut_torn_tails,
    read_journals,
)
from speedbench.load.target import Target

__all__ = [
    "MEASURED",
    "Conversation",
    "Exchange",
    "Observer",
    "Recording",
    "SelfCheck",
    "Shape",
    "Target",
    "TooManyFailuresError",
    "Wire",
    "Worker",
    "answers",
    "constant_arrivals",
    "conversations",
    "cut_torn_tails",
    "drive",
    "first_turn",
    "histories",
    "poisson_arrivals",
    "read_journals",
    "recorded_arrivals",
    "reject_too_long",
    "self_check",
    "setup_of",
    "shape_of",
    "spent_s",
    "started_workers",
    "workers_for",
]
