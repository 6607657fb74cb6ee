"""A local HTTP server that plays scripts: what an OpenAI-compatible server may send, good and bad.

A script is the bytes of one answer in pieces; each piece is one write, far enough from the next to
arrive as a read of its own.  It is played over plain sockets, so that an answer may also be what no
HTTP library would send.  To add a case, write a `Script`; to give it a name, a function here.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, BinaryIO, Literal

MODEL = "scripted-model"
DONE = b"data: [DONE]\n\n"
POLL_S = 0.02

Framing = Literal["chunked", "length", "close", "raw"]
Then = Literal["listen", "close", "cut", "reset", "silence"]


@dataclass(frozen=True)
class Script:
    """One answer: `pieces` are written `between_s` apart.

    `framing` says how the answer's end is told: in chunks, by its length, by closing the
    connection; ``raw`` pieces are all that is sent, head included.  `headers` are further lines of
    the head.  `then` says what follows: ``listen`` for the next request, ``close`` the connection
    after a whole answer, ``cut`` or ``reset`` it instead of finishing, or ``silence`` for ever.
    """

    pieces: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    between_s: float = 0.003
    headers: tuple[str, ...] = ()
    framing: Framing = "chunked"
    then: Then = "listen"

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def split(self, *positions: int) -> Script:
        """The same bytes in other pieces, split at `positions`."""
        edges = [0, *positions, len(self.body)]
        pieces = [self.body[a:b] for a, b in itertools.pairwise(edges)]
        return replace(self, pieces=pieces)

    def writes(self) -> Iterator[bytes]:
        """What goes over the wire, write by write."""
        if self.framing == "raw":
            yield from self.pieces
            return
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {reason}", f"Content-Type: {self.content_type}"]
        lines += {
            "chunked": ["Transfer-Encoding: chunked"],
            "length": [f"Content-Length: {len(self.body)}"],
            "close": ["Connection: close"],
        }[self.framing]
        yield "\r\n".join([*lines, *self.headers, "", ""]).encode()
        for piece in self.pieces:
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if self.framing == "chunked" else piece
        if self.framing == "chunked" and self.then in ("listen", "close"):
            yield b"0\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """A request that came in; `headers` as they were written, `connection` counts from 0."""

    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    at_ns: int


@dataclass
class ScriptedServer:
    """Plays `scripts` in the order of the requests; the last one goes on for ever."""

    base_url: str = ""
    scripts: list[Script] = field(default_factory=lambda: [chat("Hello", " world")])
    models: Script = field(default_factory=lambda: model_list(MODEL))
    received: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _first: int = 0

    def play(self, *scripts: Script) -> None:
        """Play these from the next request on."""
        self.scripts, self._first = list(scripts), len(self.received)

    def asked(self, prompt: str) -> int:
        """How many requests there were whose last message is `prompt`."""
        return sum(request.body["messages"][-1]["content"] == prompt for request in self.received)

    def serve(self, connection: socket.socket, number: int) -> None:
        """Answer the requests of one connection, until it ends."""
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while (request := _read(stream, number)) is not None:
                if not self._perform(self._script_for(request), connection):
                    return

    def _script_for(self, request: Received) -> Script:
        if request.path.partition("?")[0].endswith("/v1/models"):
            return self.models
        with self._lock:
            number = len(self.received) - self._first
            self.received.append(request)
            return self.scripts[min(number, len(self.scripts) - 1)]

    def _perform(self, script: Script, connection: socket.socket) -> bool:
        """Play a script; return whether the connection stays open."""
        for piece in script.writes():
            connection.sendall(piece)
            if self.over.wait(script.between_s):
                return False
        if script.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if script.then == "silence":
            while not self.over.wait(POLL_S):
                pass
        return script.then == "listen" and script.framing != "close"


def _read(stream: BinaryIO, connection: int) -> Received | None:
    """Read one request; None when the connection has ended."""
    start = stream.readline().split()
    if len(start) != 3 or not start[2].startswith(b"HTTP/"):
        return None
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name] = value.strip()
    body = stream.read(int(headers.get("Content-Length", 0)))
    received = json.loads(body) if body else None
    return Received(start[1].decode(), headers, received, connection, time.monotonic_ns())


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Run a scripted server, a thread for each connection, on a free port of this machine."""
    server = ScriptedServer()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.settimeout(POLL_S)
    scheme = "http" if tls is None else "https"
    server.base_url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def welcome(connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):  # a client that does not trust us leaves
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            whole = connection if tls is None else tls.wrap_socket(connection, server_side=True)
            server.serve(whole, number)

    def accept() -> None:
        while not server.over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                connections.append(connection)
                thread = threading.Thread(target=welcome, args=(connection, len(threads)))
                threads.append(thread)
                thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        server.over.set()
        accepting.join()
        listener.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


@contextmanager
def nobody() -> Iterator[str]:
    """The URL of a port that refuses connections, and that nobody else is given meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def crowded() -> Iterator[str]:
    """The URL of a port whose queue is full: connecting neither succeeds nor fails (Linux)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


# --- scripts -------------------------------------------------------------------------------------


def event(payload: Any, *, newline: bytes = b"\n") -> bytes:
    """One server-sent event with a JSON payload, text unescaped as engines send it."""
    data = json.dumps(payload, ensure_ascii=False).encode()
    return b"data: " + data + newline + newline


def delta(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}


def usage(n_input: int, n_output: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": n_input, "completion_tokens": n_output}}


def chat(*texts: str, newline: bytes = b"\n", between_s: float = 0.003) -> Script:
    """A good answer: a role without text, one chunk for each text, the end, the usage."""
    payloads = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        *[delta(text) for text in texts],
        delta("", "stop"),
        usage(7, len(texts)),
    ]
    pieces = [event(payload, newline=newline) for payload in payloads]
    return Script([*pieces, DONE.replace(b"\n", newline)], between_s=between_s)


def slow_chat(n_chunks: int, between_s: float) -> Script:
    """A good answer that takes its time, for tests that interrupt it."""
    return chat(*["word "] * n_chunks, between_s=between_s)


def http_error(status: int, message: str, *headers: str) -> Script:
    """A refusal in OpenAI's shape."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": status}}).encode()
    return Script([body], status=status, content_type="application/json", headers=headers)


def cut_mid_event() -> Script:
    """A stream whose connection is lost within its second event."""
    whole = chat("Hello", " world")
    return Script([*whole.pieces[:2], whole.pieces[2][:20]], then="cut")


def ended_without_done() -> Script:
    """A stream that the server closes in good order, but too early."""
    return Script(chat("Hello", " world").pieces[:2])


def bad_json() -> Script:
    return Script([event(delta("Hello")), b'data: {"choices": [\n\n', DONE])


def error_event() -> Script:
    """An engine that fails after it has answered 200."""
    return Script([event(delta("Hello")), event({"error": {"message": "out of memory"}}), DONE])


def empty_answer() -> Script:
    """A complete answer without any text."""
    return Script([event(delta("", "stop")), event(usage(7, 0)), DONE])


def model_list(*names: str, **fields: Any) -> Script:
    listing = {"object": "list", "data": [{"id": name, **fields} for name in names]}
    return Script([json.dumps(listing).encode()], content_type="application/json")


def html_page() -> Script:
    """What a web server that is no engine shows at /v1/models."""
    return Script([b"<!doctype html><title>Welcome</title>"], content_type="text/html")


def foreign_json() -> Script:
    """What some other JSON service answers at /v1/models."""
    return Script([b'{"status": "ok"}'], content_type="application/json")


# --- what goes wrong on the way ------------------------------------------------------------------


def silent() -> Script:
    """A server that takes a request and never answers."""
    return Script(framing="raw", then="silence")


def stops() -> Script:
    """An answer that begins and never goes on."""
    return replace(cut_mid_event(), then="silence")


def trickles() -> Script:
    """An answer that goes on for ever."""
    return Script([event(delta("x"))] * 100_000, between_s=0.01)


def reset_at_once() -> Script:
    return Script(framing="raw", then="reset")


def reset_mid_event() -> Script:
    return replace(cut_mid_event(), then="reset")


def hung_up() -> Script:
    """A connection closed without a word."""
    return Script(framing="raw", then="cut")


def raw(*pieces: bytes, then: Then = "cut") -> Script:
    """Exactly these bytes, then the end of the connection."""
    return Script(pieces, framing="raw", then=then)


def after_continue() -> Script:
    """A good answer behind an interim one."""
    whole = replace(chat("Hello"), framing="length")
    return raw(b"HTTP/1.1 100 Continue\r\n\r\n", *whole.writes(), then="listen")


def huge_event(n_bytes: int = 10 << 20) -> Script:
    return Script([event(delta("x" * n_bytes)), *chat("y").pieces])


def bad_text() -> Script:
    """Bytes that are no UTF-8, where text should be."""
    return Script(
        [event(delta("Hello")), b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', DONE]
    )


def compressed() -> Script:
    return replace(chat("Hello"), headers=("Content-Encoding: gzip",))


def redirect() -> Script:
    return Script(status=307, headers=("Location: http://127.0.0.1:1/",), framing="length")
