"""What an engine is to speedbench: two pure functions and a name, and what it may tell besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from speedbench.errors import StreamError
from speedbench.records import Event, HttpCall, Request, Response, ServerCounts

__all__ = ["About", "CountsSpeculation", "DescribesItself", "Engine", "StreamError", "Tokenizes"]


class Engine(Protocol):
    """An engine adapter.  Everything in it is pure and tested on recorded bytes."""

    @property
    def name(self) -> str:
        """The name used on the command line."""
        ...

    @property
    def takes_token_ids(self) -> bool:
        """Whether requests can go out as token ids (else as messages: less can be claimed)."""
        ...

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Return what must be said beside every figure of a run with this configuration.

        `config` is the run's configuration as its manifest holds it.
        """
        ...

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return the streaming POST that asks the engine for `request`.

        Where `request.input_ids` is None the messages are sent.
        """
        ...

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Return what the recorded bytes say.

        Raises
        ------
        StreamError
            When the bytes are not a complete, well-formed answer.
        """
        ...


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says about itself; None, or nothing, where it is silent.

    `speculates` is None where that cannot be told from here; `tree` says that drafts branch, so
    that an accepted token has no position in a chain; `flags` are its settings, as far as it names
    them.
    """

    engine: str | None = None
    version: str | None = None
    model_path: str | None = None
    max_context: int | None = None
    speculates: bool | None = None
    method: str | None = None
    draft_length: int | None = None
    drafter: str | None = None
    tree: bool = False
    flags: dict[str, Any] = {}


@runtime_checkable
class DescribesItself(Protocol):
    """An engine whose server tells what it is."""

    @property
    def about_paths(self) -> tuple[str, ...]:
        """What to GET, each beginning with a slash; a server may lack any of them."""
        ...

    def about(self, answers: Mapping[str, bytes]) -> About:
        """Return what the answers say; `answers` holds the paths that were answered with 200.

        Raises
        ------
        StreamError
            For an answer of another shape.
        """
        ...


@runtime_checkable
class CountsSpeculation(Protocol):
    """An engine whose server counts speculation over all requests (tier D)."""

    @property
    def counts_path(self) -> str:
        """What to GET for the counters."""
        ...

    def server_counts(self, text: str) -> ServerCounts:
        """Return the counters, summed over the server's engines.

        Raises
        ------
        StreamError
            For text that does not parse.
        """
        ...


@runtime_checkable
class Tokenizes(Protocol):
    """An engine whose server tokenizes a text on request: tokenizers can be held to each other."""

    def tokenize_request(self, text: str, *, model: str) -> HttpCall:
        """Return the POST that asks for the ids of `text`; no special token is added."""
        ...

    def token_ids(self, body: bytes) -> tuple[int, ...]:
        """Return the ids in the answer.

        Raises
        ------
        StreamError
            For an answer of another shape.
        """
        ...
