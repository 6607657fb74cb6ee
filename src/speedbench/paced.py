"""A server that streams at a pace of its own, so that a client's stamps can be checked against it.

``python -m speedbench.paced --rate 25 --ttft 0.1`` prints ``{"ready": {"port": ...}}`` and ends
when its standard input does.  Chunk k of an answer is due at arrival + ttft + k / rate, whatever
became of the chunks before; its text is `` s`` and the monotonic clock in nanoseconds just before
it was sent, and in the first chunk `` a`` and the request's arrival.  ``max_tokens`` says how many
chunks.  ``GET /lateness`` says how well the server kept its own schedule: when it did not, it has
tested less than it was asked to.

One thread, nothing but the standard library: what it costs is a heap operation and a send a chunk.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import json
import os
import select
import selectors
import socket
import struct
import sys
import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic_ns, time_ns

MODEL = "paced"
BACKLOG = 4096
MAX_REQUEST_BYTES = 1 << 20
MAX_CHUNKS = 1_000_000
DEFAULT_CHUNKS = 16
RETRY_NS = 1_000_000
"""After this time a socket that took no more is tried again."""
SO_TIMESTAMPNS = 35
"""Linux, asm-generic/socket.h: stamp what arrives, as struct timespec of CLOCK_REALTIME."""
STAMPS_IN_KERNEL = sys.platform == "linux" and struct.calcsize("l") == 8
_TIMESPEC = struct.Struct("qq")


def framed(data: bytes) -> bytes:
    r"""Return a message of the stream in chunked transfer encoding.

    >>> framed(b"[DONE]")
    b'e\r\ndata: [DONE]\n\n\r\n'
    """
    message = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(message), message)


def _delta(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    whole = {"id": MODEL, "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
    return json.dumps(whole, separators=(",", ":")).encode()


def _template(text: str) -> bytes:
    """Return a framed chunk with a place for each stamp: always 19 digits, so its size is known."""
    places = text.count("@")
    return framed(_delta(text.replace("@", "0" * 19))).replace(b"0" * 19, b"%019d", places)


FIRST = _template(" a@ s@")
NEXT = _template(" s@")
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def _tail(n_chunks: int) -> bytes:
    """Return what ends an answer: finish reason, usage, end mark, end of body."""
    usage = {"prompt_tokens": 1, "completion_tokens": n_chunks, "total_tokens": n_chunks + 1}
    whole = {"id": MODEL, "object": "chat.completion.chunk", "model": MODEL, "choices": []}
    counted = json.dumps({**whole, "usage": usage}, separators=(",", ":")).encode()
    ends = [framed(data) for data in (_delta("", "length"), counted, b"[DONE]")]
    return b"".join(ends) + b"0\r\n\r\n"


def _json_answer(status: str, payload: object) -> bytes:
    body = json.dumps(payload).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Stream:
    """One connection, and the answer that goes over it."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    unsent: bytes = b""
    arrived_ns: int = 0
    due_ns: int = 0
    n_sent: int = 0
    n_chunks: int = 0

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self.n_chunks > 0


class BadRequestError(Exception):
    """Not a request that this server understands."""


class PacedServer:
    """The server: listens on loopback, keeps its schedule, knows how late it was."""

    def __init__(self, *, rate_hz: float, ttft_s: float, port: int = 0) -> None:
        self._interval_ns = round(1e9 / rate_hz)
        self._ttft_ns = round(ttft_s * 1e9)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self._listener.setblocking(False)
        if STAMPS_IN_KERNEL:  # inherited by what is accepted
            self._listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._due: list[tuple[int, int, Stream]] = []
        self._late_ns = array("q")
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Serve until the process ends."""
        # An epoll or kqueue can itself be waited for by select, whose timeout is exact; epoll's
        # own is rounded up to a millisecond, which would make every chunk late.
        exact = hasattr(self._selector, "fileno")
        while True:
            timeout_s = None
            if self._due:
                timeout_s = max(self._due[0][0] - monotonic_ns(), 0) * 1e-9
            if exact and timeout_s != 0:
                select.select([self._selector], [], [], timeout_s)
                timeout_s = 0
            for key, _ in self._selector.select(timeout_s):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            self._send_due()

    # --- the schedule ------------------------------------------------------------------------

    def _send_due(self) -> None:
        """Send every chunk that is due by now; those that become due meanwhile come next turn."""
        due, late_ns = self._due, self._late_ns
        until_ns = monotonic_ns()
        while due and due[0][0] <= until_ns:
            stream = due[0][2]
            if stream.unsent or stream.n_sent in (0, stream.n_chunks):
                heapq.heappop(due)
                self._send_edge(stream)
                continue
            due_ns = stream.due_ns
            stream.due_ns += self._interval_ns
            stream.n_sent += 1
            heapq.heapreplace(due, (self._next_ns(stream), id(stream), stream))
            now_ns = monotonic_ns()
            data = NEXT % now_ns
            try:
                n_bytes = stream.socket.send(data)
            except BlockingIOError:
                n_bytes = 0
            except OSError:
                self._close(stream)
                continue
            if n_bytes < len(data):
                stream.unsent = data[n_bytes:]
            late_ns.append(now_ns - due_ns)

    def _next_ns(self, stream: Stream) -> int:
        """Return when there is something to do: after the last chunk the end follows at once."""
        return 0 if stream.n_sent == stream.n_chunks else stream.due_ns

    def _send_edge(self, stream: Stream) -> None:
        """Do what is rare: the first chunk, the end, and what a full socket did not take."""
        now_ns = monotonic_ns()
        if not stream.unsent and stream.n_sent == 0:
            self._late_ns.append(now_ns - stream.due_ns)
            stream.due_ns += self._interval_ns
            stream.n_sent = 1
            stream.unsent = FIRST % (stream.arrived_ns, now_ns)
        elif not stream.unsent:
            stream.unsent = _tail(stream.n_chunks)
            stream.n_chunks = 0
        if not self._push(stream):
            return
        if stream.unsent:
            heapq.heappush(self._due, (now_ns + RETRY_NS, id(stream), stream))
        elif stream.busy:
            heapq.heappush(self._due, (self._next_ns(stream), id(stream), stream))
        else:
            self._answer(stream, now_ns)  # what was asked in the meantime

    def _push(self, stream: Stream) -> bool:
        """Send what there is to send, as far as it goes; False when the peer is gone."""
        try:
            stream.unsent = stream.unsent[stream.socket.send(stream.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close(stream)
            return False
        return True

    # --- requests ----------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nobody waits, or whoever did is gone
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ, Stream(connection))

    def _read(self, stream: Stream) -> None:
        try:
            data, arrived_ns = _received(stream.socket)
        except BlockingIOError:
            return
        except OSError:
            data, arrived_ns = b"", 0
        stream.received += data
        if not data or len(stream.received) > MAX_REQUEST_BYTES:
            self._close(stream)
        elif not stream.busy and not stream.unsent:
            self._answer(stream, arrived_ns)

    def _answer(self, stream: Stream, arrived_ns: int) -> None:
        """Answer the request that has arrived, if it is complete."""
        try:
            request = _cut_request(stream.received)
            if request is None:
                return
            method_and_path, body = request
            if method_and_path == b"POST /v1/chat/completions":
                stream.n_chunks = _chunks_wanted(body)
        except BadRequestError as error:
            stream.unsent = _json_answer("400 Bad Request", {"error": {"message": str(error)}})
            if self._push(stream):
                self._close(stream)
            return
        if stream.busy:
            stream.arrived_ns, stream.n_sent = arrived_ns, 0
            stream.due_ns = arrived_ns + self._ttft_ns
            stream.unsent = HEAD
            if self._push(stream):
                heapq.heappush(self._due, (stream.due_ns, id(stream), stream))
            return
        stream.unsent = self._page(method_and_path)
        if self._push(stream) and stream.unsent:
            heapq.heappush(self._due, (monotonic_ns() + RETRY_NS, id(stream), stream))

    def _page(self, method_and_path: bytes) -> bytes:
        if method_and_path == b"GET /v1/models":
            model = {"id": MODEL, "object": "model"}
            return _json_answer("200 OK", {"object": "list", "data": [model]})
        if method_and_path == b"GET /lateness":
            return _json_answer("200 OK", lateness(self._late_ns))
        return _json_answer("404 Not Found", {"error": {"message": "there is no such page"}})

    def _close(self, stream: Stream) -> None:
        """Forget a connection, and what was due on it."""
        if stream.socket.fileno() < 0:
            return
        self._selector.unregister(stream.socket)
        stream.socket.close()
        self._due[:] = [entry for entry in self._due if entry[2] is not stream]
        heapq.heapify(self._due)


def _received(connection: socket.socket) -> tuple[bytes, int]:
    """Return what has arrived, and when, by the kernel where it tells."""
    if not STAMPS_IN_KERNEL:
        data = connection.recv(1 << 16)
        return data, monotonic_ns()
    data, ancillary, _, _ = connection.recvmsg(1 << 16, 64)
    now_ns = monotonic_ns()
    for _, kind, value in ancillary:
        if kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            age_ns = time_ns() - seconds * 1_000_000_000 - nanoseconds
            if 0 <= age_ns < 10_000_000_000:  # otherwise somebody has set the clock
                return data, now_ns - age_ns
    return data, now_ns


def _cut_request(received: bytearray) -> tuple[bytes, bytes] | None:
    """Take a complete request out of what was received: method with path, and body."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(received[:end]).split(b"\r\n")
    words = first.split(b" ")
    if len(words) != 3:
        raise BadRequestError("this is not HTTP")
    size = 0
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            if not value.strip().isdigit():
                raise BadRequestError("Content-Length is no number")
            size = int(value)
    if len(received) < end + 4 + size:
        return None
    body = bytes(received[end + 4 : end + 4 + size])
    del received[: end + 4 + size]
    return words[0] + b" " + words[1].partition(b"?")[0], body


def _chunks_wanted(body: bytes) -> int:
    try:
        asked = json.loads(body)
        n_chunks = int(asked.get("max_tokens") or DEFAULT_CHUNKS)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadRequestError("the body is no chat completion request") from error
    if not asked.get("stream"):
        raise BadRequestError("this server only streams: set stream")
    if not 1 <= n_chunks <= MAX_CHUNKS:
        raise BadRequestError(f"max_tokens must lie between 1 and {MAX_CHUNKS}")
    return n_chunks


def lateness(late_ns: Sequence[int]) -> dict[str, float | int | None]:
    """Return how late chunks were sent: quantiles in milliseconds, None where there was no chunk.

    >>> lateness([1_000_000, 3_000_000])
    {'n_chunks': 2, 'p50_ms': 3.0, 'p99_ms': 3.0, 'max_ms': 3.0}
    """
    ordered = sorted(late_ns)

    def quantile_ms(share: float) -> float | None:
        last = len(ordered) - 1
        return ordered[min(int(share * len(ordered)), last)] / 1e6 if ordered else None

    return {
        "n_chunks": len(ordered),
        "p50_ms": quantile_ms(0.5),
        "p99_ms": quantile_ms(0.99),
        "max_ms": quantile_ms(1.0),
    }


def _raise_descriptor_limit() -> None:
    """Every stream needs a descriptor."""
    try:
        import resource
    except ImportError:  # Windows has no such limit on sockets
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m speedbench.paced", allow_abbrev=False)
    parser.add_argument("--rate", type=float, default=25.0, help="chunks per second and stream")
    parser.add_argument("--ttft", type=float, default=0.1, help="seconds to the first chunk")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    if not given.rate > 0 or not given.ttft >= 0:
        parser.error("--rate must be above 0, and --ttft not below")
    _raise_descriptor_limit()
    server = PacedServer(rate_hz=given.rate, ttft_s=given.ttft, port=given.port)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    gc.disable()  # nothing here refers to itself
    sys.stdout.write(json.dumps({"ready": {"port": server.port}}) + "\n")
    sys.stdout.flush()
    server.serve()


if __name__ == "__main__":
    main()
