"""One connection: opened, spoken to and read without ever blocking.

Bytes are read by `recvmsg`, so that the kernel's receive stamp comes with them, also under TLS:
the ciphertext is read here and decrypted afterwards.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from errno import EINPROGRESS, EWOULDBLOCK
from pathlib import Path
from time import monotonic_ns

import httptools

from speedbench.client.messages import Task
from speedbench.client.secrets import StreamRedactor
from speedbench.errors import CallError

READ_BYTES = 1 << 14
ANCILLARY_BYTES = 64
# Linux, asm-generic/socket.h; the socket module does not name it.  The time is CLOCK_REALTIME, as
# struct timespec.
SO_TIMESTAMPNS = 35
STAMPS_IN_KERNEL = sys.platform == "linux" and struct.calcsize("l") == 8

Received = tuple[bytes, list[tuple[int, int, bytes]], int, object]
"""What recvmsg returns: bytes, ancillary data, flags, sender."""

CONNECTING, HANDSHAKING, IDLE, SENDING, WAITING, RECEIVING = range(6)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a request: `number` is 0 unless an earlier one had failed."""

    task: Task
    key: int
    number: int
    scheduled_ns: int


class Connection:
    """A socket and what is going on over it: at most one request at a time.

    httptools calls the `on_` methods while it reads an answer.
    """

    __slots__ = (
        *("socket", "fd", "recvmsg", "opened_ns", "state", "used", "mask", "address_index", "tls"),
        *("redactor", "error", "attempt", "key", "sent_ns", "last_ns", "status", "complete"),
        "answered_ns",
        *("by_length", "keeps", "head", "body", "retry_after", "encoding", "answer", "parser"),
        *("_incoming", "_outgoing", "_unsent"),
    )

    def __init__(
        self, address: tuple[int, str, int], tls: ssl.SSLContext | None, name: str
    ) -> None:
        family, host, port = address
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self.socket.fileno()
        self.recvmsg: Callable[[int, int], Received]
        self.recvmsg = getattr(self.socket, "recvmsg", None) or self._recv
        self.opened_ns = monotonic_ns()
        self.state = CONNECTING
        self.used = False
        self.last_ns = 0
        self.mask = self.address_index = 0
        self.tls: ssl.SSLObject | None = None
        if tls is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._unsent = b""
        self.redactor: StreamRedactor | None = None
        error = self.socket.connect_ex((host, port))
        self.error = 0 if error in (0, EINPROGRESS, EWOULDBLOCK) else error

    def stamp_in_kernel(self) -> None:
        """Ask the kernel to stamp what arrives."""
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def carry(self, attempt: Attempt) -> None:
        """Note the request that this connection is for."""
        self.attempt, self.key = attempt, attempt.key
        self.answered_ns = self.last_ns  # of the request before
        self.sent_ns = self.last_ns = 0
        self.status = 0
        self.complete = self.by_length = self.keeps = False
        self.head = bytearray()
        self.body = bytearray()
        self.retry_after = self.encoding = ""
        self.answer: list[tuple[int, bytes]] = []
        self.parser = httptools.HttpResponseParser(self)

    # --- sending -----------------------------------------------------------------------------

    def connected(self) -> int:
        """Return the error of a connection attempt that is over, 0 when there is none."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def handshake(self) -> bool:
        """Take TLS a step further; return whether it is done."""
        assert self.tls is not None
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._queue_tls()
            self.push()
        return True

    def receive_tls(self, data: bytes) -> None:
        """Take ciphertext that belongs to the handshake."""
        self._incoming.write(data)

    def send(self, payload: bytes) -> None:
        """Give a request to the kernel, or as much of it as it takes now."""
        if self.tls is None:
            self._unsent = payload
        else:
            self.tls.write(payload)
            self._queue_tls()
        self.push()

    def push(self) -> bool:
        """Send what is left over; return whether nothing is."""
        while self._unsent:
            try:
                n_sent = self.socket.send(self._unsent)
            except BlockingIOError:
                return False
            self._unsent = self._unsent[n_sent:]
        return True

    @property
    def blocked(self) -> bool:
        """Whether the kernel has not taken all there is to send."""
        return bool(self._unsent)

    # --- receiving ---------------------------------------------------------------------------

    def decrypted(self, data: bytes) -> bytes:
        """Return the plain text that ciphertext completes."""
        assert self.tls is not None
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        plain = []
        try:
            while piece := self.tls.read(READ_BYTES):
                plain.append(piece)
                if not self._incoming.pending and not self.tls.pending():
                    break  # cheaper than to be told so by an exception
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        self._queue_tls()
        self.push()
        return b"".join(plain)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Remember the few headers that decide how an answer ends or is understood."""
        name = name.lower()
        if name == b"retry-after":
            self.retry_after = value.decode("latin-1").strip()
        elif name == b"content-encoding":
            self.encoding = value.decode("latin-1").strip().lower()
        elif name in (b"content-length", b"transfer-encoding"):
            self.by_length = True

    def on_headers_complete(self) -> None:
        """Note the status; one below 200 is not the answer yet."""
        status = self.parser.get_status_code()
        self.status = status if status >= 200 else 0

    def on_message_complete(self) -> None:
        """Note that the answer is complete, and whether the connection stays open."""
        self.complete = self.status >= 200
        self.keeps = self.parser.should_keep_alive()  # the parser has forgotten it afterwards

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _queue_tls(self) -> None:
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()

    def _recv(self, n_bytes: int, _n_ancillary: int) -> Received:
        """Stand in for recvmsg where sockets have none (Windows)."""
        return self.socket.recv(n_bytes), [], 0, None


def kernel_stamp(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """Return the kernel's receive stamp as it came; empty when there is none."""
    return next((value for _, kind, value in ancillary if kind == SO_TIMESTAMPNS), b"")


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies certificate and name; `ca_file` adds an authority.

    Raises
    ------
    CallError
        When the file holds no certificate.
    """
    context = ssl.create_default_context()
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CallError(f"--ca-file {ca_file} holds no certificate: {error.strerror}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context
