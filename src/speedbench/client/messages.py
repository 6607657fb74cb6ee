"""What a worker and whoever leads it say to each other: small records over one byte stream.

Each message is a 4-byte length and a MessagePack record.  Nothing in a message depends on shared
memory or on the leader's clock, so a worker may live on another machine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

from speedbench.errors import TraceError
from speedbench.records import Failed

_LENGTH = struct.Struct("<I")


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait before a request has failed; seconds, 0 for as long as it takes."""

    connect_s: float = 10.0
    first_byte_s: float = 600.0
    between_bytes_s: float = 300.0
    total_s: float = 0.0


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """The first message: where the load goes and where it is written.

    `addresses` are tried in turn until one accepts; `tls_name` is the name that the server's
    certificate must bear, and empty for plain HTTP.
    """

    worker: int
    launch: int
    journal: str
    first_key: int
    n_torn_bytes: int
    addresses: list[tuple[int, str, int]]
    tls_name: str
    ca_file: str
    secrets: list[bytes]
    timeouts: Timeouts
    retries: int
    stamps: str


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin"):
    """A phase of load begins now.

    At most `slots` conversations are in flight (0: no limit), the i-th from ``ramp_ns * i / slots``
    on.  With `open_loop`, each conversation starts when it is due instead of when a slot is free.
    After `duration_ns` nothing new starts (0: no limit).
    """

    phase: str
    block: int
    slots: int
    ramp_ns: int = 0
    open_loop: bool = False
    duration_ns: int = 0


class Task(msgspec.Struct, frozen=True, kw_only=True, tag="task"):
    """One request of conversation `number`: the first one, or the next turn of one under way.

    `due_ns` counts from the beginning of the phase.  With `more`, a further turn may follow: the
    slot is kept, and the answer comes back when `answer` is set.
    """

    number: int
    request: msgspec.Raw
    payload: bytes
    due_ns: int = 0
    more: bool = False
    answer: bool = False


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Conversation `number` has no further turn after all."""

    number: int


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """No conversation will follow in this phase: say `Drained` when all have ended."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Drop what is in flight and end."""


ToWorker = Setup | Begin | Task | Release | Finish | Stop


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker is set up; `stamps` says who stamps arrivals."""

    stamps: str


class TaskEnded(msgspec.Struct, frozen=True, tag="ended"):
    """A request of conversation `number` has ended, and its record is on file.

    `reads` holds stamp and bytes of each read of the answer, where it was asked for.
    """

    number: int
    failed: Failed | None
    reads: list[tuple[int, bytes]] = []


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How many conversations have started and how many reads there were, in this phase."""

    n_started: int
    n_reads: int


class Drained(msgspec.Struct, frozen=True, tag="drained"):
    """Everything that was asked for in this phase has ended."""


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """The worker cannot go on, for a reason in one sentence."""

    sentence: str


FromWorker = Ready | TaskEnded | Progress | Drained | Broken

_encoder = msgspec.msgpack.Encoder()


def packed(messages: Iterable[ToWorker | FromWorker]) -> bytes:
    """Return messages as bytes."""
    encoded = [_encoder.encode(message) for message in messages]
    return b"".join(part for one in encoded for part in (_LENGTH.pack(len(one)), one))


class Unpacker:
    """Puts messages together from pieces of a byte stream.

    >>> unpacker = Unpacker(FromWorker)
    >>> [list(unpacker.feed(packed([Drained()])[n : n + 9])) for n in (0, 9, 18)]
    [[], [Drained()], []]
    """

    def __init__(self, kind: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[ToWorker | FromWorker] = msgspec.msgpack.Decoder(
            kind
        )
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[ToWorker | FromWorker]:
        """Yield the messages that `data` completes.

        Raises
        ------
        TraceError
            For what is no message.
        """
        self._rest += data
        position = 0
        while len(self._rest) - position >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._rest, position)
            end = position + _LENGTH.size + size
            if len(self._rest) < end:
                break
            payload = bytes(self._rest[position + _LENGTH.size : end])
            position = end
            try:
                message = self._decoder.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise TraceError(f"leader and worker do not understand another: {error}") from error
            yield message
        del self._rest[:position]
