"""What an engine is to speedbench: two pure functions and a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from speedbench.errors import StreamError
from speedbench.records import Event, HttpCall, Request, Response

__all__ = ["Engine", "StreamError"]


class Engine(Protocol):
    """An engine adapter.  Everything in it is pure and tested on recorded bytes."""

    @property
    def name(self) -> str:
        """The name used on the command line."""
        ...

    @property
    def takes_token_ids(self) -> bool:
        """Whether requests go out as token ids (else as messages, which lowers what is claimed)."""
        ...

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Return what must be said beside every figure of a run with this configuration.

        `config` is the run's configuration as its manifest holds it.
        """
        ...

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return the streaming POST that asks the engine for `request`."""
        ...

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Return what the recorded bytes say.

        Raises
        ------
        StreamError
            When the bytes are not a complete, well-formed answer.
        """
        ...
