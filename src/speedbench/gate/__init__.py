"""From estimates to decisions, purely: whether speculation should be on."""

from speedbench.gate._decide import Candidate, Decision, decide

__all__ = ["Candidate", "Decision", "decide"]
