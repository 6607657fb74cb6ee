"""Server-sent events, put together from the bytes of separate reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from speedbench.errors import StreamError
from speedbench.records import Event

DONE = b"[DONE]"
MAX_MESSAGE_BYTES = 8 << 20
"""No engine streams messages of this size; a server that does is not streaming."""


def messages(events: Iterable[Event]) -> Iterator[tuple[int, bytes]]:
    r"""Yield the data of each complete event with the stamp of the read that completed it.

    Only the ``data`` field is read; lines may end in LF or CRLF; a ``data`` field of several lines
    is joined by LF.  An unfinished event at the end of the stream is not yielded.

    Raises
    ------
    StreamError
        For a message of more than `MAX_MESSAGE_BYTES`.

    Examples
    --------
    >>> reads = [Event(1, b'data: {"a"'), Event(2, b': 1}\n\ndata: [DONE]\n\n')]
    >>> list(messages(reads))
    [(2, b'{"a": 1}'), (2, b'[DONE]')]
    """
    rest = b""
    fields: list[bytes] = []
    for event in events:
        *lines, rest = (rest + event.data).split(b"\n")
        if len(rest) > MAX_MESSAGE_BYTES or any(len(line) > MAX_MESSAGE_BYTES for line in lines):
            raise StreamError(
                "message_too_large", f"one message of the stream exceeds {MAX_MESSAGE_BYTES} bytes"
            )
        for line in lines:
            stripped = line.rstrip(b"\r")
            if stripped.startswith(b"data:"):
                fields.append(stripped[5:].removeprefix(b" "))
            elif not stripped and fields:
                yield event.at_ns, b"\n".join(fields)
                fields = []
