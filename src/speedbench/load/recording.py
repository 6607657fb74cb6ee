"""Journals, read: which attempts there are, which one counts, and what came back in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from speedbench.client import http1
from speedbench.client.journal import (
    Ended,
    Opened,
    Reads,
    Record,
    Sent,
    arrived_ns,
    decoded,
    frames,
    journal_lock,
    records,
)
from speedbench.errors import TraceError
from speedbench.records import Event, Failed, Request

MEASURED = "load"
"""The phase whose requests are counted; those of every other phase are kept and left out."""

Key = tuple[int, int]
"""An attempt: which journal, and its key there."""


@dataclass
class Exchange:
    """Everything recorded about one attempt at one request; `ended` is None when it was cut off.

    `reads` holds `arrived_ns` (0 where the kernel gave no stamp), `read_ns` and bytes of each read.
    """

    request: Request
    sent: Sent
    launch: int
    worker: int
    reads: list[tuple[int, int, bytes]] = field(default_factory=list)
    ended: Ended | None = None

    @property
    def events(self) -> list[Event]:
        """The body's bytes by the reads that brought them, stamped on the monotonic clock.

        The kernel's stamp is used where there is one.  It cannot lie after the read nor before the
        stream's last read; a stamp that does comes from a wall clock that was set, and gives way.
        """
        stamped = []
        before_ns = self.sent.sent_ns
        for kernel_ns, read_ns, data in self.reads:
            at_ns = kernel_ns if before_ns <= kernel_ns <= read_ns else read_ns
            stamped.append((at_ns, data))
            before_ns = at_ns
        return http1.body_events(stamped)


@dataclass(frozen=True)
class Attempt:
    """One attempt without its bytes."""

    request: Request
    sent: Sent
    launch: int
    ended: Ended | None


@dataclass(frozen=True)
class Recording:
    """The journals of one run, read once without what came back.

    `opened` and `vitals` are in the order written, `attempts` by journal and key, in the order
    sent.  `good_bytes` and `torn_bytes` say, by journal, how much is intact and how much is not.
    """

    paths: tuple[Path, ...]
    opened: list[Opened]
    attempts: dict[Key, Attempt]
    good_bytes: tuple[int, ...]
    torn_bytes: tuple[int, ...]

    @property
    def n_launches(self) -> int:
        """How often the run was begun or resumed."""
        return 1 + max((opened.launch for opened in self.opened), default=-1)

    def next_key(self, journal: int) -> int:
        """Return a key above every key in use in one journal."""
        return 1 + max((key for number, key in self.attempts if number == journal), default=-1)

    def ended(self) -> dict[str, Key]:
        """Return the attempt that counts for each measured request: the last one that ended."""
        last: dict[str, tuple[tuple[int, int], Key]] = {}
        for key, attempt in self.attempts.items():
            if attempt.ended is None or attempt.sent.phase != MEASURED:
                continue
            when = (attempt.launch, attempt.ended.at_ns)
            if attempt.request.id not in last or last[attempt.request.id][0] < when:
                last[attempt.request.id] = (when, key)
        return {name: key for name, (_, key) in last.items()}

    def delivered(self) -> dict[str, Key]:
        """Return the requests whose answer the transport brought in full, and the attempt."""
        return {name: key for name, key in self.ended().items() if self.failure(key) is None}

    def failure(self, key: Key) -> Failed | None:
        """Return why an attempt that ended failed, None when it did not."""
        ended = self.attempts[key].ended
        return None if ended is None else ended.failed

    def exchanges(self, wanted: Iterable[Key]) -> Iterator[Exchange]:
        """Yield attempts with their bytes, in the order they ended; one journal after the other.

        Only the attempts that are under way at a time are held in memory.
        """
        keys = set(wanted)
        for number, path in enumerate(self.paths):
            yield from _exchanges(path, number, self.attempts, keys)


def read_journals(paths: Sequence[Path]) -> Recording:
    """Read journals up to their ends or first damaged frames; one that is missing is empty.

    Raises
    ------
    TraceError
        When records are intact but contradict each other, which no crash can cause.
    """
    opened: list[Opened] = []
    attempts: dict[Key, Attempt] = {}
    sizes = [_index(number, path, opened, attempts) for number, path in enumerate(paths)]
    in_order = sorted(attempts, key=lambda key: (attempts[key].launch, attempts[key].sent.sent_ns))
    return Recording(
        tuple(paths),
        opened,
        {key: attempts[key] for key in in_order},
        tuple(good for good, _ in sizes),
        tuple(torn for _, torn in sizes),
    )


def cut_torn_tails(paths: Sequence[Path]) -> list[int]:
    """Drop the damaged ends of journals, so that appending is safe; return the bytes dropped.

    Waits for a worker that still writes, which one does for a moment after its parent was killed.

    Raises
    ------
    CallError
        When a journal is being written by another process.
    """
    dropped = []
    for path in paths:
        lock = journal_lock(path)
        try:
            good = max((end for _, end in frames(path)), default=0)
            size = path.stat().st_size if path.exists() else 0
            if good < size:
                os.truncate(path, good)
            dropped.append(size - good)
        finally:
            lock.release()
    return dropped


def _index(
    number: int, path: Path, opened: list[Opened], attempts: dict[Key, Attempt]
) -> tuple[int, int]:
    """Add what is in one journal; return its intact and its damaged bytes."""
    decoder = msgspec.msgpack.Decoder(Record)
    of_request = msgspec.msgpack.Decoder(Request)
    good = launch = 0
    for payload, end in frames(path):
        good = end
        if payload[1:7] == _READS:  # by far the most, and not needed here
            continue
        record = decoded(decoder, payload, path)
        if isinstance(record, Opened):
            opened.append(record)
            launch = record.launch
        elif isinstance(record, Sent):
            request = decoded(of_request, record.request, path)
            attempts[number, record.key] = Attempt(request, record, launch, None)
        elif isinstance(record, Ended):
            attempt = attempts.get((number, record.key))
            if attempt is None or attempt.ended is not None:
                raise _outside(path, record.key)
            attempts[number, record.key] = Attempt(
                attempt.request, attempt.sent, attempt.launch, record
            )
    size = path.stat().st_size if path.exists() else 0
    return good, size - good


_READS = msgspec.msgpack.encode("reads")


def _exchanges(
    path: Path, number: int, attempts: dict[Key, Attempt], wanted: set[Key]
) -> Iterator[Exchange]:
    under_way: dict[int, Exchange] = {}
    for record in records(path):
        if isinstance(record, Sent):
            if (number, record.key) in wanted:
                attempt = attempts[number, record.key]
                under_way[record.key] = Exchange(attempt.request, record, attempt.launch, number)
        elif isinstance(record, Reads):
            _deal_out(record, under_way, lambda key: (number, key) in attempts, path)
        elif isinstance(record, Ended) and record.key in under_way:
            exchange = under_way.pop(record.key)
            exchange.ended = record
            yield exchange
    yield from under_way.values()


def _deal_out(
    record: Reads,
    under_way: dict[int, Exchange],
    known: Callable[[int], bool],
    path: Path,
) -> None:
    for key, stamp, read_ns, data in record.reads:
        if (exchange := under_way.get(key)) is not None:
            exchange.reads.append((arrived_ns(stamp, record.offset_ns), read_ns, data))
        elif not known(key):
            raise _outside(path, key)


def _outside(path: Path, key: int) -> TraceError:
    return TraceError(f"{path}: a record of attempt {key} stands outside that attempt")
