"""The load client: sends requests, stamps what comes back, and writes all of it to a journal."""

from __future__ import annotations

from speedbench.load.client import Observer, Outcome, Target, drive, open_session, warm_up
from speedbench.load.conversation import Conversation, reject_too_long
from speedbench.load.journal import (
    Exchange,
    JournalWriter,
    Opened,
    Recording,
    cut_torn_tail,
    read_journal,
)

__all__ = [
    "Conversation",
    "Exchange",
    "JournalWriter",
    "Observer",
    "Opened",
    "Outcome",
    "Recording",
    "Target",
    "cut_torn_tail",
    "drive",
    "open_session",
    "read_journal",
    "reject_too_long",
    "warm_up",
]
