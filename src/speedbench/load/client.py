"""A closed loop of conversations over HTTP: so many in flight, no more and no fewer.

While a stream runs, the client does two things with it: it stamps each read of the socket and puts
the bytes into the journal.  An answer is decoded when its stream has ended, because the next turn
of the conversation needs it and because a stream may end in an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from speedbench.engines import Engine, StreamError
from speedbench.errors import EngineError, SpeedbenchError
from speedbench.load.conversation import Conversation
from speedbench.load.journal import Data, Ended, Exchange, JournalWriter, Sent
from speedbench.records import Event, Failed, HttpCall, Request, Response

CONNECT_TIMEOUT_S = 10.0
BETWEEN_BYTES_TIMEOUT_S = 300.0
DETAIL_CHARACTERS = 300


@dataclass(frozen=True)
class Outcome:
    """How one request ended: with a response, or failed."""

    request: Request
    response: Response | None
    failed: Failed | None


class Observer(Protocol):
    """Told what happens, for a progress display; never in the request path."""

    def ended(self, outcome: Outcome) -> None:
        """Note that a request has ended."""
        ...


@dataclass
class Target:
    """Where the load goes: a session, the engine's adapter, and the model's name there."""

    session: aiohttp.ClientSession
    engine: Engine
    model: str


@dataclass
class _Driver:
    target: Target
    journal: JournalWriter
    observer: Observer
    done: Mapping[str, Exchange]
    block: int
    clock: Callable[[], int]

    async def converse(self, conversation: Conversation) -> None:
        """Send the turns of one conversation; one that fails ends it."""
        request: Request | None = None
        answer: Response | None = None
        for turn in range(len(conversation.prompt.turns)):
            request = conversation.request(turn, request, answer)
            outcome = self._recorded(request) or await self._exchange(request)
            self.observer.ended(outcome)
            if outcome.response is None:
                return
            answer = outcome.response

    def _recorded(self, request: Request) -> Outcome | None:
        """Return the outcome that an interrupted run already has for this request."""
        exchange = self.done.get(request.id)
        if exchange is None or exchange.sent.request.input_hash != request.input_hash:
            return None
        return _decode(self.target.engine, request, exchange.events, _failure(exchange))

    async def _exchange(self, request: Request) -> Outcome:
        """Send one request and journal all of it."""
        scheduled_ns = self.clock()
        key = self.journal.new_key()
        call = self.target.engine.build_request(request, model=self.target.model)
        sent_ns = self.clock()
        self.journal.append(Sent(key, request, self.block, scheduled_ns, sent_ns))
        events: list[Event] = []

        def keep(at_ns: int, data: bytes) -> None:
            events.append(Event(at_ns, data))
            self.journal.append(Data(key, at_ns, data))

        failed = await receive(self.target.session, call, keep, self.clock)
        outcome = _decode(self.target.engine, request, events, failed)
        self.journal.append(Ended(key, self.clock(), outcome.failed))
        return outcome


async def receive(
    session: aiohttp.ClientSession,
    call: HttpCall,
    keep: Callable[[int, bytes], None],
    clock: Callable[[], int],
) -> Failed | None:
    """Send `call` and hand each read to `keep` with its stamp; return why it failed, if it did."""

    def failed(kind: str, detail: str) -> Failed:
        return Failed(at_ns=clock(), kind=kind, detail=detail)

    try:
        async with session.post(call.path, data=call.body, headers=dict(call.headers)) as response:
            if response.status != 200:
                body = (await response.text(errors="replace"))[:DETAIL_CHARACTERS]
                return failed(f"http_{response.status}", body or str(response.reason))
            async for data in response.content.iter_any():
                now_ns = clock()
                keep(now_ns, data)
    except TimeoutError as error:
        return failed("timeout", str(error) or "the server stopped sending")
    except aiohttp.ClientConnectorError as error:
        return failed("connect", str(error))
    except aiohttp.ClientError as error:
        return failed("connection_lost", str(error) or type(error).__name__)
    return None


async def drive(
    conversations: Iterable[Conversation],
    target: Target,
    *,
    concurrency: int,
    journal: JournalWriter,
    observer: Observer,
    done: Mapping[str, Exchange],
    block: int = 0,
    clock: Callable[[], int] = time.monotonic_ns,
) -> None:
    """Run `conversations`, `concurrency` at a time.

    Requests in `done` were finished by an interrupted run and are not sent again.
    """
    driver = _Driver(target, journal, observer, done, block, clock)
    waiting = iter(conversations)

    async def slot() -> None:
        for conversation in waiting:
            await driver.converse(conversation)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(slot())
    except* SpeedbenchError as failures:  # a full disk, say: one sentence, not a group of many
        raise failures.exceptions[0] from None


async def warm_up(conversation: Conversation, target: Target) -> None:
    """Send the first turn of `conversation` and record nothing.

    Raises
    ------
    EngineError
        When it fails: then nothing that follows would be worth measuring.
    """
    request = conversation.request(0, None, None)
    call = target.engine.build_request(request, model=target.model)
    events: list[Event] = []

    def keep(at_ns: int, data: bytes) -> None:
        events.append(Event(at_ns, data))

    failed = await receive(target.session, call, keep, time.monotonic_ns)
    outcome = _decode(target.engine, request, events, failed)
    if outcome.failed is not None:
        raise EngineError(
            f"the engine failed the first request, before anything was measured "
            f"({outcome.failed.kind}): {outcome.failed.detail}"
        )


def open_session(base_url: str, api_key: str | None = None) -> aiohttp.ClientSession:
    """Return a session for `base_url`; the key is sent as a bearer token and recorded nowhere."""
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=BETWEEN_BYTES_TIMEOUT_S
    )
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    connector = aiohttp.TCPConnector(limit=0)  # the closed loop is the limit
    return aiohttp.ClientSession(base_url, timeout=timeout, headers=headers, connector=connector)


def _decode(
    engine: Engine, request: Request, events: list[Event], failed: Failed | None
) -> Outcome:
    if failed is not None:
        return Outcome(request, None, failed)
    try:
        return Outcome(request, engine.decode(request, events), None)
    except StreamError as error:
        at_ns = events[-1].at_ns if events else 0
        return Outcome(request, None, Failed(at_ns=at_ns, kind=error.kind, detail=str(error)))


def _failure(exchange: Exchange) -> Failed | None:
    return exchange.ended.failed if exchange.ended is not None else None
