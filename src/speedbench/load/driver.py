"""Conversations through workers: who starts when, what the next turn is, when it is enough."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from speedbench.client import http1
from speedbench.client.messages import (
    Begin,
    Drained,
    Finish,
    Progress,
    Release,
    Task,
    TaskEnded,
    ToWorker,
)
from speedbench.errors import EngineError, SpeedbenchError, StreamError
from speedbench.load.conversation import Conversation
from speedbench.load.crew import Worker
from speedbench.load.recording import MEASURED, Recording
from speedbench.records import Answer, Event, Failed, Request, Response

MIN_AHEAD = 8
AHEAD_IN_OPEN_LOOP = 256
"""So many conversations wait at a worker, so that a free slot or a due time never waits for us."""

Decode = Callable[[Request, Sequence[Event]], Response]


class Observer(Protocol):
    """Told what happens, for a progress display; never in the request path."""

    def ended(self, request_id: str, failed: Failed | None) -> None:
        """Note that a request has ended, for good."""
        ...

    def received(self, n_reads: int) -> None:
        """Note that so many reads of a socket have brought something."""
        ...


@dataclass(frozen=True)
class Shape:
    """How the load of one phase comes.

    At most `concurrency` conversations in flight (None: no limit), ramped up over `ramp_s`.  With
    `arrivals_s` the loop is open: the i-th conversation that is not finished yet starts at the i-th
    of these seconds.  After `duration_s` nothing new starts.
    """

    concurrency: int | None = 1
    ramp_s: float = 0.0
    arrivals_s: Sequence[float] | None = None
    duration_s: float | None = None
    phase: str = MEASURED
    block: int = 0

    def begin(self, worker: int, n_workers: int) -> Begin:
        """Return one worker's part of it."""
        slots = 0
        if self.concurrency is not None:  # shared out as evenly as it goes
            slots = (self.concurrency + n_workers - 1 - worker) // n_workers
        return Begin(
            phase=self.phase,
            block=self.block,
            slots=slots,
            ramp_ns=int(self.ramp_s * 1e9),
            open_loop=self.arrivals_s is not None,
            duration_ns=int((self.duration_s or 0.0) * 1e9),
        )


@dataclass(frozen=True)
class Wire:
    """How requests go out and answers are understood: by the engine's adapter."""

    payload: Callable[[Request], bytes]
    decode: Decode


class TooManyFailuresError(EngineError):
    """More requests failed than the run may lose."""


@dataclass
class _Talk:
    """A conversation under way: its current turn."""

    conversation: Conversation
    request: Request
    turn: int


@dataclass
class _Driver:
    workers: Sequence[Worker]
    wire: Wire
    shape: Shape
    observer: Observer
    done: Mapping[str, Answer]
    max_failures: int | None
    read_answers: bool
    coming: Iterator[tuple[int, Conversation]]
    dues_ns: deque[int] | None
    """In an open loop: when those that have not begun are due."""
    talks: dict[int, _Talk] = field(default_factory=dict)
    ahead: dict[int, int] = field(default_factory=dict)
    n_given: dict[int, int] = field(default_factory=dict)
    n_failed: int = 0
    exhausted: bool = False
    finished: bool = False

    def begin(self) -> None:
        """Give every worker its part of the load, and enough to begin with."""
        for worker in self.workers:
            begin = self.shape.begin(worker.number, len(self.workers))
            ahead = max(MIN_AHEAD, begin.slots // 4) if begin.slots else AHEAD_IN_OPEN_LOOP
            self.ahead[worker.number] = begin.slots + ahead
            tasks = self._next_tasks(self.ahead[worker.number])
            self.n_given[worker.number] = len(tasks)
            worker.say(begin, *tasks)
        self._finish_if_exhausted()

    async def lead(self, worker: Worker) -> None:
        """Keep one worker supplied until everything has ended."""
        n_reads = 0
        while True:
            for message in await worker.heard():
                match message:
                    case TaskEnded():
                        worker.say(*self._ended(message))
                    case Progress(n_started, n):
                        self.observer.received(n - n_reads)
                        n_reads = n
                        self._supply(worker, n_started)
                    case Drained():
                        return

    def _supply(self, worker: Worker, n_started: int) -> None:
        waiting = self.n_given[worker.number] - n_started
        tasks = self._next_tasks(self.ahead[worker.number] - waiting)
        if tasks:
            self.n_given[worker.number] += len(tasks)
            worker.say(*tasks)
        self._finish_if_exhausted()

    def _finish_if_exhausted(self) -> None:
        if self.exhausted and not self.finished:
            self.finished = True
            for worker in self.workers:
                worker.say(Finish())

    def _next_tasks(self, n: int) -> list[Task]:
        """Return the first requests of up to `n` conversations."""
        tasks: list[Task] = []
        while len(tasks) < n and not self.exhausted:
            found = None if self.dues_ns == deque() else next(self.coming, None)
            if found is None:
                self.exhausted = True
                break
            number, conversation = found
            task = self._first_task(number, conversation)
            if task is not None:
                tasks.append(task)
        return tasks

    def _first_task(self, number: int, conversation: Conversation) -> Task | None:
        """Return the first request that an interrupted run has not finished."""
        request: Request | None = None
        answer: Answer | None = None
        for turn in range(len(conversation.prompt.turns)):
            request = conversation.request(turn, request, answer)
            answer = self.done.get(request.id)
            if answer is None or answer.input_hash != request.input_hash:
                self.talks[number] = _Talk(conversation, request, turn)
                return self._task(number, self.dues_ns.popleft() if self.dues_ns else 0)
            self.observer.ended(request.id, None)
        return None

    def _task(self, number: int, due_ns: int = 0) -> Task:
        talk = self.talks[number]
        more = talk.turn + 1 < len(talk.conversation.prompt.turns)
        return Task(
            number=number,
            request=msgspec.Raw(msgspec.msgpack.encode(talk.request)),
            payload=self.wire.payload(talk.request),
            due_ns=due_ns,
            more=more,
            answer=self.read_answers or (more and talk.conversation.history is None),
        )

    def _ended(self, message: TaskEnded) -> list[ToWorker]:
        """Take the end of a turn; return what the worker has to be told."""
        number, failed = message.number, message.failed
        talk = self.talks[number]
        more = talk.turn + 1 < len(talk.conversation.prompt.turns) and failed is None
        answer = None
        if failed is None and (self.read_answers or (more and talk.conversation.history is None)):
            answer, failed = self._answer(talk.request, message.reads)
        self._count(talk.request, failed)
        if not more:
            del self.talks[number]
            return []
        if failed is not None:
            del self.talks[number]
            return [Release(number)]
        talk.turn += 1
        talk.request = talk.conversation.request(talk.turn, talk.request, answer)
        return [self._task(number)]

    def _answer(
        self, request: Request, reads: Sequence[tuple[int, bytes]]
    ) -> tuple[Answer | None, Failed | None]:
        try:
            response = self.wire.decode(request, http1.body_events(reads))
        except StreamError as error:
            at_ns = reads[-1][0] if reads else 0
            return None, Failed(at_ns=at_ns, kind=error.kind, detail=str(error))
        return Answer.of(request, response), None

    def _count(self, request: Request, failed: Failed | None) -> None:
        self.observer.ended(request.id, failed)
        if failed is None:
            return
        self.n_failed += 1
        if self.max_failures is not None and self.n_failed > self.max_failures:
            raise TooManyFailuresError(
                f"{self.n_failed} requests failed, and --max-failures allows {self.max_failures}; "
                f"the last one was {failed.kind}: {failed.detail}; what was finished is kept: mend "
                "the cause and go on with --resume"
            )


async def drive(
    conversations: Iterable[Conversation],
    workers: Sequence[Worker],
    wire: Wire,
    shape: Shape,
    *,
    observer: Observer,
    done: Mapping[str, Answer],
    max_failures: int | None = None,
    read_answers: bool = False,
) -> None:
    """Run `conversations` in the given shape, everything into the workers' journals.

    Parameters
    ----------
    conversations
        In the order in which they start.  An endless iterator needs a shape with a duration.
    workers
        Who does it; they share the slots and take the next conversation when they are free.
    wire
        How requests go out and answers are understood.
    shape
        How the load comes.
    observer
        Told of every end.
    done
        Requests that an interrupted run has finished, with their answers; they are not sent again.
    max_failures
        So many requests may fail; None for any number.
    read_answers
        Whether every answer is decoded at once, so that one that cannot be read counts as failed.
        Otherwise only those that a next turn is built on are.

    Raises
    ------
    TooManyFailuresError
        When more fail.
    EnvironmentFailedError
        When a worker cannot go on: no disk space, killed.
    """
    workers = workers[: shape.concurrency]  # a worker without a slot of its own stays out
    numbered = zip(itertools.count(), conversations, strict=False)
    dues_ns = None
    if shape.arrivals_s is not None:
        dues_ns = deque(int(arrival_s * 1e9) for arrival_s in shape.arrivals_s)
    driver = _Driver(
        workers, wire, shape, observer, done, max_failures, read_answers, numbered, dues_ns
    )
    driver.begin()
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(driver.lead(worker))
    except* SpeedbenchError as failures:  # one sentence, not a group of many
        raise failures.exceptions[0] from None


def answers(recording: Recording, decode: Decode) -> dict[str, Answer]:
    """Return the answer to every request that is finished: delivered in full, and readable."""
    found = {}
    for exchange in recording.exchanges(recording.delivered().values()):
        try:
            response = decode(exchange.request, exchange.events)
        except StreamError:
            continue  # it is sent again
        found[exchange.request.id] = Answer.of(exchange.request, response)
    return found
