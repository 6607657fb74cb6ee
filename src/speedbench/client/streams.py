"""Every stream of one worker: started, read, ended, and written to the journal as it happens."""

from __future__ import annotations

import heapq
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic_ns

import httptools

from speedbench.client import faults, http1
from speedbench.client.connection import (
    ANCILLARY_BYTES,
    CONNECTING,
    HANDSHAKING,
    IDLE,
    READ_BYTES,
    RECEIVING,
    WAITING,
    Attempt,
    Connection,
    Received,
    kernel_stamp,
    tls_context,
)
from speedbench.client.journal import Ended, JournalWriter, Sent
from speedbench.client.messages import Setup, Task
from speedbench.client.poller import IN, OUT, Poller
from speedbench.client.secrets import Redactor, StreamRedactor
from speedbench.records import Failed

MAX_ERROR_BODY_BYTES = 1 << 16
OK = 200

Ending = Callable[[Task, Failed | None, list[tuple[int, bytes]], int], None]
"""Told that a request has ended for good: task, why it failed, the answer, when."""


CLOSED_AT_ONCE_NS = 1_000_000_000
"""An idle connection that the server closes sooner than that was never meant to be used again."""

Flow = tuple[Callable[[int, int], Received], Callable[[bytes], None], Connection]
"""An answer coming in of which nothing but the bytes is wanted: how to read it and to follow it."""


class Streams:
    """The connections of one worker and the requests on them."""

    def __init__(self, setup: Setup, poller: Poller, journal: JournalWriter, ended: Ending) -> None:
        self._setup, self._poller, self._journal, self._ended = setup, poller, journal, ended
        self._redactor = Redactor(setup.secrets)
        self._tls: ssl.SSLContext | None = None
        if setup.tls_name:
            self._tls = tls_context(Path(setup.ca_file) if setup.ca_file else None)
        self._connections: dict[int, Connection] = {}
        self._flows: dict[int, Flow] = {}
        self._listeners: dict[int, Callable[[], None]] = {}
        self._idle: list[Connection] = []
        self._repeats: list[tuple[int, int, Attempt]] = []
        self._phase, self._block = "", 0
        self._reuses = True

    def listen(self, fd: int, listener: Callable[[], None]) -> None:
        """Call `listener` when `fd`, which is no stream, has something to say."""
        self._listeners[fd] = listener

    def begin(self, phase: str, block: int) -> None:
        """Name the phase that the requests from now on belong to."""
        self._phase, self._block = phase, block

    @property
    def busy(self) -> bool:
        """Whether a request is under way or waits to be repeated."""
        return len(self._connections) > len(self._idle) or bool(self._repeats)

    def start(self, task: Task, scheduled_ns: int, number: int = 0) -> None:
        """Send a request, over an open connection if there is one."""
        attempt = Attempt(task, self._journal.new_key(), number, scheduled_ns)
        if self._idle:
            connection = self._idle.pop()
            self._carry(connection, attempt)
            self._send(connection)
        else:
            self._open(attempt, 0)

    def take(self, ready: Sequence[tuple[int, int]]) -> None:
        """Read what has arrived, and do what else descriptors are ready for.

        The loop body is all there is to do for nearly every chunk of a load, and its cost decides
        how many streams one process is faithful to: hence no further function in it.
        """
        flows, keep = self._flows, self._journal.reads.append
        for fd, mask in ready:
            flow = flows.get(fd)
            if flow is None or mask != IN:
                self.ready(fd, mask)
                continue
            recvmsg, feed, connection = flow
            try:
                data, ancillary, _, _ = recvmsg(READ_BYTES, ANCILLARY_BYTES)
                read_ns = monotonic_ns()
                if not data:
                    self._closed(connection, read_ns)
                    continue
                keep((connection.key, ancillary[0][2] if ancillary else b"", read_ns, data))
                connection.last_ns = read_ns
                feed(data)
            except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                if not self._survives(connection, error):
                    continue
            if connection.complete:
                self._complete(connection, read_ns)

    def _survives(self, connection: Connection, error: Exception) -> bool:
        """Return whether an answer is complete in spite of an error; if not, deal with it."""
        if isinstance(error, BlockingIOError):
            return False
        if isinstance(error, OSError):
            self._lost(connection, error)
        elif not connection.complete:
            self._fail(connection, faults.BAD_HTTP, str(error))
        return connection.complete and not isinstance(error, OSError)

    def ready(self, fd: int, mask: int) -> None:
        """Do what a descriptor is ready for."""
        connection = self._connections.get(fd)
        if connection is None:  # somebody else's, or closed earlier in the same turn
            if (listener := self._listeners.get(fd)) is not None:
                listener()
            return
        try:
            if connection.state >= WAITING and mask & ~OUT:
                self._read(connection)
            else:
                self._progress(connection, mask)
        except (ssl.SSLError, ssl.CertificateError) as error:
            reason = getattr(error, "verify_message", "")
            detail = f"{reason}; a private authority: --ca-file" if reason else str(error)
            self._fail(connection, faults.TLS, detail)
        except OSError as error:
            self._lost(connection, error)

    def watch(self, now_ns: int) -> None:
        """End what has waited too long."""
        for connection in list(self._connections.values()):
            if connection.state != IDLE and (late := self._overdue(connection, now_ns)):
                kind, seconds = late
                self._end(connection, faults.of_timeout(now_ns, kind, seconds), now_ns)

    def repeat(self, now_ns: int) -> None:
        """Send again what has waited for it."""
        while self._repeats and self._repeats[0][0] <= now_ns:
            _, _, failed = heapq.heappop(self._repeats)
            self.start(failed.task, failed.scheduled_ns, failed.number + 1)

    def next_ns(self) -> int | None:
        """Return when something is to be sent again."""
        return self._repeats[0][0] if self._repeats else None

    def close(self) -> None:
        """Drop every connection."""
        for connection in list(self._connections.values()):
            self._forget(connection)

    # --- the beginning of a request ----------------------------------------------------------

    def _open(self, attempt: Attempt, index: int) -> None:
        """Begin to connect to the address at `index`."""
        try:
            connection = Connection(self._setup.addresses[index], self._tls, self._setup.tls_name)
        except OSError as error:  # no descriptor left
            now_ns = monotonic_ns()
            self._note_sent(attempt, now_ns, now_ns)
            self._finish(attempt, faults.of_connecting(now_ns, error.errno or 0), now_ns)
            return
        if self._setup.stamps == "kernel":
            connection.stamp_in_kernel()
        connection.address_index = index
        connection.mask = IN | OUT
        self._connections[connection.fd] = connection
        self._poller.register(connection.fd, connection.mask)
        self._carry(connection, attempt)
        if connection.error:
            self._not_connected(connection, connection.error)

    def _carry(self, connection: Connection, attempt: Attempt) -> None:
        connection.carry(attempt)
        connection.redactor = StreamRedactor(self._redactor) if self._redactor else None

    def _progress(self, connection: Connection, mask: int) -> None:
        """Go on connecting or sending."""
        if connection.state == IDLE:  # closed by the server, or speaking out of turn
            self._drop_idle(connection)
        elif connection.state == CONNECTING:
            if error := connection.connected():
                self._not_connected(connection, error)
            elif connection.tls is None:
                self._send(connection)
            else:
                connection.state = HANDSHAKING
                self._shake_hands(connection, 0)
        elif connection.state == HANDSHAKING:
            self._shake_hands(connection, mask)
        else:
            connection.push()
            self._watch_for(connection)

    def _shake_hands(self, connection: Connection, mask: int) -> None:
        if mask & IN:
            data = connection.socket.recv(READ_BYTES)
            if not data:
                raise ssl.SSLError("the server closed the connection during the handshake")
            connection.receive_tls(data)
        if connection.handshake():
            self._send(connection)
        else:
            self._watch_for(connection)

    def _send(self, connection: Connection) -> None:
        connection.state = WAITING
        connection.sent_ns = monotonic_ns()
        try:
            connection.send(connection.attempt.task.payload)
            error = None
        except OSError as lost:
            error = lost
        begun_ns = 0 if connection.used else connection.opened_ns
        self._note_sent(connection.attempt, begun_ns, connection.sent_ns)
        if error is not None:
            self._lost(connection, error)
        else:
            self._watch_for(connection)

    def _watch_for(self, connection: Connection) -> None:
        mask = IN | OUT if connection.blocked else IN
        if mask != connection.mask:
            connection.mask = mask
            self._poller.modify(connection.fd, mask)

    # --- the answer --------------------------------------------------------------------------

    def _read(self, connection: Connection) -> None:
        try:
            data, ancillary, _, _ = connection.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            read_ns = monotonic_ns()
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(connection, error)
            return
        stamp = kernel_stamp(ancillary)
        over = not data
        if connection.tls is not None:
            data = connection.decrypted(data)
        if data:  # what TLS itself has to say is no answer yet
            connection.last_ns = read_ns
            self._take(connection, stamp, read_ns, data)
        if over and connection.state >= WAITING:
            self._closed(connection, read_ns)

    def _take(self, connection: Connection, stamp: bytes, read_ns: int, data: bytes) -> None:
        """Keep what has come and look whether it is all."""
        try:
            connection.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not connection.complete:
                self._fail(connection, faults.BAD_HTTP, str(error) or "no answer in HTTP/1.1")
                return
        kept = data if connection.state == RECEIVING else self._started(connection, data)
        if kept is None:
            return
        if connection.status == OK:
            self._keep(connection, stamp, read_ns, kept)
        elif len(connection.body) < MAX_ERROR_BODY_BYTES:
            connection.body += kept
        if connection.complete:
            self._complete(connection, read_ns)

    def _keep(self, connection: Connection, stamp: bytes, read_ns: int, data: bytes) -> None:
        """Put a read into the journal, and into the answer where somebody waits for it."""
        if connection.redactor is not None:
            data = connection.redactor.redact(data)
        self._journal.reads.append((connection.key, stamp, read_ns, data))
        if connection.attempt.task.answer:
            connection.answer.append((read_ns, data))

    def _started(self, connection: Connection, data: bytes) -> bytes | None:
        """Return the beginning of the answer, as it may be kept; None while the head is cut."""
        connection.head += data
        split = http1.split_head(bytes(connection.head))
        if split is None:
            if len(connection.head) > http1.MAX_HEAD_BYTES:
                self._fail(connection, faults.BAD_HTTP, "the head of the answer does not end")
            return None
        connection.state = RECEIVING
        plain = connection.tls is None and connection.redactor is None
        if connection.status == OK and plain and not connection.attempt.task.answer:
            feed = connection.parser.feed_data
            self._flows[connection.fd] = (connection.recvmsg, feed, connection)
        return split[0] + split[1]

    def _closed(self, connection: Connection, at_ns: int) -> None:
        """End the request whose connection the server has closed, in good order or too early."""
        if connection.complete or (connection.status and not connection.by_length):
            self._complete(connection, at_ns)
        elif connection.state == WAITING and not connection.head:
            kind = faults.CUT_STREAM
            if connection.used:
                kind = faults.STALE
                self._learn(connection.answered_ns)
            self._fail(connection, kind, "the server closed the connection without an answer")
        else:
            self._fail(connection, faults.CUT_STREAM, "the server closed the connection too early")

    def _complete(self, connection: Connection, at_ns: int) -> None:
        failed = None
        if connection.status != OK:
            events = http1.body_events([(0, bytes(connection.body))])
            text = b"".join(event.data for event in events).decode(errors="replace")
            reason = bytes(connection.head).partition(b"\r\n")[0].decode("latin-1")
            shown = [reason.partition(" ")[2], text, connection.retry_after]
            shown = [self._redactor.text(one) for one in shown]  # before anything is cut short
            failed = faults.of_status(at_ns, connection.status, *shown)
        elif connection.encoding not in ("", "identity"):
            detail = f"the server compressed the stream ({connection.encoding}) unasked"
            failed = Failed(at_ns=at_ns, kind=faults.ENCODED, detail=detail)
        self._end(connection, failed, at_ns, reusable=connection.complete and connection.keeps)

    # --- the end -----------------------------------------------------------------------------

    def _end(
        self, connection: Connection, failed: Failed | None, at_ns: int, *, reusable: bool = False
    ) -> None:
        self._flows.pop(connection.fd, None)
        if not connection.sent_ns:
            self._note_sent(connection.attempt, connection.opened_ns, at_ns)
        if reusable and self._reuses and not connection.blocked:
            connection.state, connection.used = IDLE, True
            self._idle.append(connection)
        else:
            self._forget(connection)
        self._finish(connection.attempt, failed, at_ns, connection.answer, connection.retry_after)

    def _finish(
        self,
        attempt: Attempt,
        failed: Failed | None,
        at_ns: int,
        answer: Sequence[tuple[int, bytes]] = (),
        retry_after: str = "",
    ) -> None:
        """Record the end of an attempt; repeat it if that is wanted, else tell."""
        if failed is not None:
            detail = self._redactor.text(failed.detail)
            failed = Failed(at_ns=failed.at_ns, kind=failed.kind, detail=detail)
        self._journal.append(Ended(attempt.key, at_ns, failed))
        if failed is not None:
            stale = failed.kind == faults.STALE
            wait_s = 0.0 if stale else faults.wait_s(failed, attempt.number, retry_after)
            if wait_s is not None and (stale or attempt.number < self._setup.retries):
                again_ns = at_ns + int(wait_s * 1e9)
                heapq.heappush(self._repeats, (again_ns, attempt.key, attempt))
                return
        self._ended(attempt.task, failed, list(answer), at_ns)

    def _drop_idle(self, connection: Connection) -> None:
        self._learn(connection.last_ns)
        self._idle.remove(connection)
        self._forget(connection)

    def _learn(self, answered_ns: int) -> None:
        """Give up using connections again with a server that closes them right after an answer.

        llama.cpp does, and announces the opposite: every request would go out on a connection that
        is about to close, and be sent twice.
        """
        if monotonic_ns() - answered_ns < CLOSED_AT_ONCE_NS:
            self._reuses = False

    def _not_connected(self, connection: Connection, error: int) -> None:
        """Try the next address of the server, or give up."""
        following = connection.address_index + 1
        if following < len(self._setup.addresses):
            self._forget(connection)
            self._open(connection.attempt, following)
        else:
            now_ns = monotonic_ns()
            self._end(connection, faults.of_connecting(now_ns, error), now_ns)

    def _lost(self, connection: Connection, error: OSError) -> None:
        now_ns = monotonic_ns()
        if connection.state == IDLE:
            self._drop_idle(connection)
            return
        if connection.used and connection.state == WAITING and not connection.head:
            self._learn(connection.answered_ns)
            self._fail(connection, faults.STALE, "the server had closed the idle connection")
            return
        self._end(connection, faults.of_transport(now_ns, error), now_ns)

    def _fail(self, connection: Connection, kind: str, detail: str) -> None:
        now_ns = monotonic_ns()
        failed = Failed(at_ns=now_ns, kind=kind, detail=detail[: faults.DETAIL_CHARACTERS])
        self._end(connection, failed, now_ns)

    def _forget(self, connection: Connection) -> None:
        self._flows.pop(connection.fd, None)
        del self._connections[connection.fd]
        self._poller.unregister(connection.fd)
        connection.close()

    def _note_sent(self, attempt: Attempt, connect_ns: int, sent_ns: int) -> None:
        self._journal.append(
            Sent(
                attempt.key,
                attempt.task.request,
                self._phase,
                self._block,
                attempt.number,
                attempt.scheduled_ns,
                connect_ns,
                sent_ns,
            )
        )

    def _overdue(self, connection: Connection, now_ns: int) -> tuple[str, float] | None:
        """Return which limit a request has passed, and the limit."""
        limits = self._setup.timeouts
        if connection.state in (CONNECTING, HANDSHAKING):
            kind, since_ns, limit_s = faults.CONNECT_TIMEOUT, connection.opened_ns, limits.connect_s
        elif connection.last_ns == 0:
            kind, since_ns = faults.FIRST_BYTE_TIMEOUT, connection.sent_ns
            limit_s = limits.first_byte_s
        else:
            kind, since_ns = faults.BETWEEN_BYTES_TIMEOUT, connection.last_ns
            limit_s = limits.between_bytes_s
        if limit_s and now_ns - since_ns > limit_s * 1e9:
            return kind, limit_s
        begun_ns = connection.sent_ns or connection.opened_ns
        if limits.total_s and now_ns - begun_ns > limits.total_s * 1e9:
            return faults.TOTAL_TIMEOUT, limits.total_s
        return None
