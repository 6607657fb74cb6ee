"""Start an engine's server, wait until it answers, and make sure that it ends with us."""

from __future__ import annotations

from speedbench.launch.findings import CAUTION, FAIL, Finding, Said
from speedbench.launch.identity import accelerators, container, model_identity
from speedbench.launch.ports import free_port, holder_of
from speedbench.launch.preflight import N_PROMPTS, Server, preflight, server_counts
from speedbench.launch.probe import Identity, about, health, identify, open_session, page
from speedbench.launch.process import ServerProcess, launched
from speedbench.launch.serving import served
from speedbench.launch.templates import LaunchCommand, Wanted, free_form, launch_command

__all__ = [
    "CAUTION",
    "FAIL",
    "N_PROMPTS",
    "Finding",
    "Identity",
    "LaunchCommand",
    "Said",
    "Server",
    "ServerProcess",
    "Wanted",
    "about",
    "accelerators",
    "container",
    "free_form",
    "free_port",
    "health",
    "holder_of",
    "identify",
    "launch_command",
    "launched",
    "model_identity",
    "open_session",
    "page",
    "preflight",
    "served",
    "server_counts",
]
