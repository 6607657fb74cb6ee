"""The append-only journal: every byte that came back, and when.

A journal is a sequence of frames, each a 4-byte length and a 4-byte CRC-32 of its payload, both
little-endian, then the payload: one MessagePack record.  A frame that is cut short or whose
checksum is off ends the journal: everything before it stands.  A record has reached the operating
system when the request it belongs to has ended, so killing the process at any moment loses no
finished request.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from speedbench.errors import EnvironmentFailedError, TraceError
from speedbench.records import Event, Failed, Request

_FRAME = struct.Struct("<II")
_MAX_PAYLOAD_BYTES = 1 << 30


class Opened(msgspec.Struct, frozen=True, tag="opened", array_like=True):
    """A process began to write here: at first, or to finish what another left.

    `n_torn_bytes` were cut off the end because their frame was damaged.
    """

    at_ns: int
    time_of_day: str
    n_torn_bytes: int


class Sent(msgspec.Struct, frozen=True, tag="sent", array_like=True):
    """A request went out.  `key` names this attempt in the records that follow."""

    key: int
    request: Request
    block: int
    scheduled_ns: int
    sent_ns: int


class Data(msgspec.Struct, frozen=True, tag="data", array_like=True):
    """One read of the socket."""

    key: int
    at_ns: int
    data: bytes


class Ended(msgspec.Struct, frozen=True, tag="ended", array_like=True):
    """The stream ended: `failed` is None when it was complete."""

    key: int
    at_ns: int
    failed: Failed | None


Record = Opened | Sent | Data | Ended


class JournalWriter:
    """Appends records to one file; used by one process.

    `first_key` numbers the attempts; when a journal is continued, above every key it holds.
    """

    def __init__(self, path: Path, first_key: int = 0) -> None:
        self.path = path
        self._keys = itertools.count(first_key)
        self._file: BinaryIO = path.open("ab")
        self._encoder = msgspec.msgpack.Encoder()

    def new_key(self) -> int:
        """Return a key for the next attempt."""
        return next(self._keys)

    def append(self, record: Record) -> None:
        """Write one record; `Opened` and `Ended` also flush everything before them."""
        payload = self._encoder.encode(record)
        try:
            self._file.write(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
            if isinstance(record, Ended | Opened):
                self._file.flush()
        except OSError as error:
            raise _disk_failure(self.path, error) from error

    def close(self) -> None:
        """Write what is left and close the file."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _disk_failure(self.path, error) from error
        finally:
            with contextlib.suppress(OSError):  # after a full disk, closing flushes again
                self._file.close()


@dataclass
class Exchange:
    """Everything recorded about one attempt at one request; `ended` is None when it was cut off.

    `launch` counts how often the journal had been opened before: 0 unless the run was resumed.
    """

    sent: Sent
    launch: int = 0
    events: list[Event] = field(default_factory=list)
    ended: Ended | None = None


@dataclass(frozen=True)
class Recording:
    """A journal, read: who wrote it, attempts in the order sent, and the size of a torn tail."""

    opened: list[Opened]
    exchanges: list[Exchange]
    n_good_bytes: int
    n_torn_bytes: int

    @property
    def next_key(self) -> int:
        """A key above every key in use."""
        return 1 + max((exchange.sent.key for exchange in self.exchanges), default=-1)

    def ended(self) -> dict[str, Exchange]:
        """Return the attempt that counts for each request: the last one that ended."""
        return {
            exchange.sent.request.id: exchange
            for exchange in self.exchanges
            if exchange.ended is not None
        }

    def finished(self) -> dict[str, Exchange]:
        """Return the requests that ended well, which a resumed run does not send again."""
        return {
            name: exchange
            for name, exchange in self.ended().items()
            if exchange.ended is not None and exchange.ended.failed is None
        }


def read_journal(path: Path) -> Recording:
    """Read a journal up to its end or its first damaged frame.

    Raises
    ------
    TraceError
        When records are intact but contradict each other, which no crash can cause.
    """
    raw = path.read_bytes() if path.exists() else b""
    opened: list[Opened] = []
    exchanges: dict[int, Exchange] = {}
    good = 0
    for record, end in _frames(raw):
        good = end
        if isinstance(record, Opened):
            opened.append(record)
            continue
        if isinstance(record, Sent):
            exchanges[record.key] = Exchange(record, max(len(opened) - 1, 0))
            continue
        exchange = exchanges.get(record.key)
        if exchange is None or exchange.ended is not None:
            raise TraceError(
                f"{path}: a record of attempt {record.key} stands outside that attempt"
            )
        if isinstance(record, Data):
            exchange.events.append(Event(record.at_ns, record.data))
        else:
            exchange.ended = record
    return Recording(opened, list(exchanges.values()), good, len(raw) - good)


def cut_torn_tail(path: Path, recording: Recording) -> None:
    """Drop the damaged end of a journal, so that appending to it is safe."""
    if recording.n_torn_bytes:
        os.truncate(path, recording.n_good_bytes)


def _frames(raw: bytes) -> Iterator[tuple[Record, int]]:
    decoder = msgspec.msgpack.Decoder(Record)
    position = 0
    while position + _FRAME.size <= len(raw):
        size, checksum = _FRAME.unpack_from(raw, position)
        start = position + _FRAME.size
        payload = raw[start : start + size]
        if size > _MAX_PAYLOAD_BYTES or len(payload) < size or zlib.crc32(payload) != checksum:
            return
        position = start + size
        yield decoder.decode(payload), position


def _disk_failure(path: Path, error: OSError) -> EnvironmentFailedError:
    reason = "no space left on the disk" if error.errno == errno.ENOSPC else str(error.strerror)
    return EnvironmentFailedError(
        f"cannot write the journal {path}: {reason}; every request finished so far is kept: free "
        "some space and go on with --resume"
    )
