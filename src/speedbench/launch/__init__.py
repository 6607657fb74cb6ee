"""Start an engine's server, wait until it answers, and make sure that it ends with us."""

from __future__ import annotations

from speedbench.launch.probe import Identity, health, identify, open_session
from speedbench.launch.process import ServerProcess, launched

__all__ = ["Identity", "ServerProcess", "health", "identify", "launched", "open_session"]
