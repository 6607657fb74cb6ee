"""The engines: how to ask each one, and what its bytes say about speculation."""

from __future__ import annotations

from speedbench.engines.embedded import EmbeddedEngine
from speedbench.engines.openai import OpenAIEngine
from speedbench.engines.protocol import Engine, StreamError
from speedbench.errors import UnknownNameError

CATALOG: dict[str, type[Engine]] = {"embedded": EmbeddedEngine, "openai": OpenAIEngine}
"""Every engine by its name on the command line."""


def engine(name: str) -> Engine:
    """Return the adapter called `name`.

    >>> engine("embedded").takes_token_ids
    True
    """
    if name not in CATALOG:
        raise UnknownNameError("engine", name, CATALOG)
    return CATALOG[name]()


__all__ = ["CATALOG", "Engine", "StreamError", "engine"]
