"""The append-only journal: every byte that came back, and when.

A journal is a sequence of frames, each a 4-byte length and a 4-byte CRC-32 of its payload, both
little-endian, then the payload: one MessagePack record.  A frame that is cut short or whose
checksum is off ends the journal: everything before it stands.  A request is acknowledged when its
`Ended` has reached the operating system, so killing any process at any moment loses no finished
request.

Each worker process writes one journal and holds a lock on it, so that two of them cannot write the
same file, also not when one of them has outlived the parent that started it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from filelock import FileLock, Timeout

from speedbench.errors import CallError, EnvironmentFailedError, TraceError
from speedbench.records import Failed

_FRAME = struct.Struct("<II")
_MAX_PAYLOAD_BYTES = 1 << 30
_LOCK_TIMEOUT_S = 10.0
FLUSH_READS = 1000

Read = tuple[int, bytes, int, bytes]
"""One read of a socket: key of the attempt, the kernel's stamp, `read_ns`, the bytes.

The stamp is of the last byte and as the kernel gave it (`arrived_ns` reads it), empty where it gave
none; `read_ns` is taken as soon as the read has returned.
"""

Wake = tuple[int, int, int]
"""One turn of the worker's loop: when it began to wait, when it woke, how many reads it did."""


class Opened(msgspec.Struct, frozen=True, tag="opened", array_like=True):
    """A worker began to write here: at first, or to go on where another was interrupted.

    `launch` counts how often the run had been begun before.  `n_torn_bytes` were cut off the end
    because their frame was damaged.  `stamps` says who stamps arrivals: ``kernel`` or ``read``.
    """

    at_ns: int
    time_of_day: str
    launch: int
    worker: int
    stamps: str
    n_torn_bytes: int


_TIMESPEC = struct.Struct("ll")


def arrived_ns(stamp: bytes, offset_ns: int) -> int:
    """Return a kernel's stamp on the monotonic clock; 0 when there is none.

    Parameters
    ----------
    stamp
        A struct timespec of CLOCK_REALTIME (SO_TIMESTAMPNS on 64-bit Linux), or empty.
    offset_ns
        Wall clock minus monotonic clock at that time.

    >>> arrived_ns(struct.pack("ll", 5, 7), 1_000_000_000)
    4000000007
    """
    if not stamp:
        return 0
    seconds, nanoseconds = _TIMESPEC.unpack(stamp)
    return int(seconds * 1_000_000_000 + nanoseconds - offset_ns)


class Began(msgspec.Struct, frozen=True, tag="began", array_like=True):
    """A phase of load began: at most `slots` conversations in flight, 0 for no limit."""

    at_ns: int
    phase: str
    block: int
    slots: int


class Sent(msgspec.Struct, frozen=True, tag="sent", array_like=True):
    """A request went out.  `key` names this attempt in the records that follow.

    `request` is a `speedbench.records.Request`, encoded; the worker does not look into it.
    `connect_ns` is when the connection was begun, and 0 when an open one was used again.
    `attempt` is 0 unless an earlier one had failed and was repeated.
    """

    key: int
    request: msgspec.Raw
    phase: str
    block: int
    attempt: int
    scheduled_ns: int
    connect_ns: int
    sent_ns: int


class Reads(msgspec.Struct, frozen=True, tag="reads", array_like=True):
    """What arrived since the last of these, of all streams, and the turns of the loop it took.

    `offset_ns` is wall clock minus monotonic clock, for the kernel's stamps.
    """

    offset_ns: int
    wakes: list[Wake]
    reads: list[Read]


class Ended(msgspec.Struct, frozen=True, tag="ended", array_like=True):
    """The stream ended: `failed` is None when the transport brought all of it."""

    key: int
    at_ns: int
    failed: Failed | None


class Vitals(msgspec.Struct, frozen=True, tag="vitals", array_like=True):
    """How the worker itself is doing, once a second; times and counts since it started.

    `clock_step_ns` sums the steps of the wall clock against the monotonic one.
    """

    at_ns: int
    cpu_user_s: float
    cpu_system_s: float
    peak_rss_kb: int
    n_preempted: int
    n_gc: int
    gc_ns: int
    longest_gc_ns: int
    clock_spread_ns: int
    clock_step_ns: int


Kind = TypeVar("Kind")
Record = Opened | Began | Sent | Reads | Ended | Vitals


class JournalWriter:
    """Appends records to one file, as one write for each `flush`; used by one process.

    `first_key` numbers the attempts; when a journal is continued, above every key it holds.

    Raises
    ------
    CallError
        When another process writes this journal.
    EnvironmentFailedError
        When the file cannot be opened.
    """

    def __init__(self, path: Path, first_key: int = 0) -> None:
        self.path = path
        self._lock = journal_lock(path)
        self._keys = itertools.count(first_key)
        self._encoder = msgspec.msgpack.Encoder()
        self._before: list[bytes] = []
        self._after: list[bytes] = []
        self.offset_ns = 0
        self.wakes: list[Wake] = []
        self.reads: list[Read] = []
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            self._lock.release()
            raise _disk_failure(path, error) from error
        self._size = os.fstat(self._file).st_size

    def new_key(self) -> int:
        """Return a key for the next attempt."""
        return next(self._keys)

    def append(self, record: Record) -> None:
        """Keep a record for the next `flush`; what arrived comes before the ends it belongs to."""
        frames = self._after if isinstance(record, Ended) else self._before
        frames.append(self._frame(record))

    def flush(self) -> None:
        """Hand everything to the operating system.

        Raises
        ------
        EnvironmentFailedError
            When it does not fit: the journal then ends with the last whole flush.
        """
        frames = self._before
        if self.reads or self.wakes:
            frames.append(self._frame(Reads(self.offset_ns, self.wakes, self.reads)))
            self.reads.clear()
            self.wakes.clear()
        frames += self._after
        if not frames:
            return
        content = b"".join(frames)
        self._before, self._after = [], []
        try:
            written = 0
            while written < len(content):
                written += os.write(self._file, content[written:] if written else content)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise _disk_failure(self.path, error) from error
        self._size += len(content)

    def close(self) -> None:
        """Write what is left and close the file."""
        try:
            self.flush()
            os.fsync(self._file)
        except OSError as error:
            raise _disk_failure(self.path, error) from error
        finally:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._lock.release()

    def _frame(self, record: Record) -> bytes:
        payload = self._encoder.encode(record)
        return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def journal_lock(path: Path) -> FileLock:
    """Take the lock of a journal, waiting for a worker that is about to end.

    Raises
    ------
    CallError
        When another process still writes the journal.
    """
    lock = FileLock(path.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise CallError(f"{path} is being written by another process") from error
    except OSError as error:
        raise _disk_failure(path, error) from error
    return lock


def frames(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield the payload of each intact frame and where the frame ends, up to the first damage."""
    if not path.exists():
        return
    n_bytes = path.stat().st_size
    with path.open("rb") as file:  # not mapped: what is mapped counts as this process's memory
        position = 0
        while len(head := file.read(_FRAME.size)) == _FRAME.size:
            size, checksum = _FRAME.unpack(head)
            end = position + _FRAME.size + size
            if size > _MAX_PAYLOAD_BYTES or end > n_bytes:
                return
            payload = file.read(size)
            if len(payload) < size or zlib.crc32(payload) != checksum:
                return
            position = end
            yield payload, position


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a journal, up to its end or its first damaged frame.

    Raises
    ------
    TraceError
        When an intact frame holds no record of this schema.
    """
    decoder = msgspec.msgpack.Decoder(Record)
    for payload, _ in frames(path):
        yield decoded(decoder, payload, path)


def decoded(
    decoder: msgspec.msgpack.Decoder[Kind], payload: bytes | msgspec.Raw, path: Path
) -> Kind:
    """Return what an intact frame of a journal holds.

    Raises
    ------
    TraceError
        When that is nothing of this schema.
    """
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} holds a record of another schema: {error}") from error


def _disk_failure(path: Path, error: OSError) -> EnvironmentFailedError:
    reason = "no space left on the disk" if error.errno == errno.ENOSPC else str(error.strerror)
    return EnvironmentFailedError(
        f"cannot write the journal {path}: {reason}; every request finished so far is kept: free "
        "some space and go on with --resume"
    )
