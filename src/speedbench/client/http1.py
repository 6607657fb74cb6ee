"""HTTP/1.1, both ways: the bytes of a request, and the body within the recorded bytes of an answer.

Framing is left to llhttp, the parser of Node.js, through httptools: while the load runs it only
tells where an answer ends, and afterwards it takes the chunked framing off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import httptools

from speedbench import __version__
from speedbench.records import Event, HttpCall

HEAD_END = b"\r\n\r\n"
MAX_HEAD_BYTES = 1 << 16
KEPT_HEADERS = frozenset(
    {b"content-type", b"content-length", b"transfer-encoding", b"connection", b"server", b"date"}
)
"""The headers of an answer that go to the journal; others may hold cookies or keys."""


def request_bytes(
    call: HttpCall, *, host: str, prefix: str = "", query: str = "", headers: Mapping[str, str]
) -> bytes:
    r"""Return a POST as it goes over the wire.

    >>> call = HttpCall(path="/v1/x", body=b"{}")
    >>> request_bytes(call, host="h:80", headers={"A": "b"}).splitlines()[:2]
    [b'POST /v1/x HTTP/1.1', b'Host: h:80']
    """
    lines = {
        "Host": host,
        "User-Agent": f"speedbench/{__version__}",
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "Content-Length": str(len(call.body)),
        **dict(call.headers),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    target = f"{prefix}{call.path}" + (f"?{query}" if query else "")
    return f"POST {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + call.body


def public_head(head: bytes) -> bytes:
    r"""Return the head of an answer with only the headers that may be kept.

    >>> public_head(b"HTTP/1.1 200 OK\r\nSet-Cookie: s\r\nDate: now\r\n\r\n")
    b'HTTP/1.1 200 OK\r\nDate: now\r\n\r\n'
    """
    status, *lines = head.removesuffix(HEAD_END).split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() in KEPT_HEADERS]
    return b"\r\n".join([status, *kept]) + HEAD_END


def split_head(start: bytes) -> tuple[bytes, bytes] | None:
    r"""Split the beginning of an answer into its public head and what has come of the body.

    Interim answers (status 1xx) are dropped.  None as long as the head is not complete.

    >>> split_head(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}")
    (b'HTTP/1.1 200 OK\r\n\r\n', b'{}')
    """
    head, end, body = start.partition(HEAD_END)
    while end and head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
        head, end, body = body.partition(HEAD_END)
    return (public_head(head + end), body) if end else None


class _Body:
    """Collects the pieces of a body; httptools calls `on_body`."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def on_body(self, piece: bytes) -> None:
        if piece:  # a read of nothing is handed on as a piece of nothing
            self.pieces.append(piece)


def body_events(reads: Iterable[tuple[int, bytes]]) -> list[Event]:
    r"""Return the body's bytes by the reads that brought them; reads without any are left out.

    Parameters
    ----------
    reads
        Stamp and bytes of each read of one answer, from its status line on.

    Examples
    --------
    >>> head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    >>> body_events([(1, head), (2, b"2\r\nhi\r\n"), (3, b"0\r\n\r\n")])
    [Event(at_ns=2, data=b'hi')]
    """
    body = _Body()
    parser = httptools.HttpResponseParser(body)
    events: list[Event] = []
    for at_ns, data in reads:
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            break  # the worker has found the same and ended the request
        finally:
            if body.pieces:
                events.append(Event(at_ns, b"".join(body.pieces)))
                body.pieces = []
    return events
