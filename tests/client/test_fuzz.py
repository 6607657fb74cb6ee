"""Whatever bytes come, the readers give a result or an error of their own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests import server as scripts
from tests.conftest import GOLDEN, reads

from speedbench.client import http1
from speedbench.client.messages import (
    Begin,
    Broken,
    Drained,
    Finish,
    FromWorker,
    Progress,
    Release,
    Task,
    TaskEnded,
    ToWorker,
    Unpacker,
    packed,
)
from speedbench.engines import CATALOG
from speedbench.errors import StreamError, TraceError
from speedbench.records import Event, Failed, Request, Response, Sampling

FILES = sorted(GOLDEN.glob("*.sse"))
BODIES = [*[path.read_bytes() for path in FILES], scripts.chat("Grüße", " 🙂").body]
REQUEST = Request(
    id="p#0", prompt_id="p", turn=0, input_hash="", sampling=Sampling(max_tokens=8),
    input_ids=(1, 2), messages=(("user", "Hello"),),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """Real bytes with a few of them replaced, dropped or doubled."""
    body = bytearray(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 4))):
        if not body:
            break
        at = draw(st.integers(0, len(body) - 1))
        size = draw(st.integers(0, 40))
        new = draw(
            st.one_of(
                st.binary(max_size=4),
                st.just(bytes(body[at : at + size]) * 2),
                st.sampled_from(
                    [b"null", b"-1", b"1e999", b"[]", b"{}", b'""', b"9" * 30, b"\n\n"]
                ),
            )
        )
        body[at : at + size] = new
    return bytes(body)


@st.composite
def events(draw: st.DrawFn, bodies: list[bytes]) -> list[Event]:
    body = draw(st.one_of(mutated(bodies), st.binary(max_size=300)))
    return reads(body, *draw(st.lists(st.integers(0, len(body)), max_size=4)))


@pytest.mark.parametrize("name", CATALOG)
@given(events(BODIES))
def test_decoding_gives_a_response_or_a_stream_error(name: str, events: list[Event]) -> None:
    try:
        found: Response | StreamError = CATALOG[name]().decode(REQUEST, events)
    except StreamError as error:
        found = error
    if isinstance(found, StreamError):
        assert found.kind.isidentifier()
        assert str(found)
    else:
        written = msgspec.msgpack.encode(found)  # bytes: a step's time may be NaN, equal to nothing
        again = msgspec.msgpack.decode(written, type=Response)
        assert msgspec.msgpack.encode(again) == written


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nrest",
    b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhi",
]


@given(events(ANSWERS))
@example([Event(1, ANSWERS[2])])
@example([Event(1, ANSWERS[3]), Event(2, b"")])
def test_a_body_is_taken_out_of_anything(events: list[Event]) -> None:
    found = http1.body_events([(event.at_ns, event.data) for event in events])
    stamps = [event.at_ns for event in found]
    assert stamps == sorted(stamps)
    assert all(event.data for event in found)
    assert sum(len(e.data) for e in found) <= sum(len(e.data) for e in events)


@given(st.one_of(mutated(ANSWERS), st.binary(max_size=200)))
@example(b"HTTP/1.1 100 \r\n\r\n" * 3_855)  # as many as fit into the longest head
def test_a_head_is_split_off_anything(start: bytes) -> None:
    found = http1.split_head(start)
    if found is not None:
        head, body = found
        assert head.endswith(http1.HEAD_END)
        assert start.endswith(body)
        names = [line.partition(b":")[0].strip().lower() for line in head.split(b"\r\n")[1:-2]]
        assert set(names) <= http1.KEPT_HEADERS


@given(st.lists(st.binary(max_size=30), max_size=8), st.data())
def test_a_chunked_body_is_the_same_however_it_is_read(
    pieces: list[bytes], data: st.DataObject
) -> None:
    script = scripts.Script([piece for piece in pieces if piece])
    whole = b"".join(script.writes())
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))
    found = http1.body_events([(e.at_ns, e.data) for e in reads(whole, *cuts)])
    assert b"".join(event.data for event in found) == script.body


MESSAGES = [
    Drained(),
    Progress(1, 2),
    TaskEnded(3, Failed(at_ns=1, kind="reset", detail="x"), [(1, b"data")]),
    Broken("cannot"),
]
TASKS = [
    Begin(phase="load", block=0, slots=1),
    Task(number=1, request=msgspec.Raw(b"\xc0"), payload=b"POST", more=True),
    Release(2),
    Finish(),
]


@given(st.data())
@pytest.mark.parametrize(("kind", "messages"), [(FromWorker, MESSAGES), (ToWorker, TASKS)])
def test_messages_arrive_whole_however_they_are_cut(
    kind: object, messages: list[FromWorker | ToWorker], data: st.DataObject
) -> None:
    raw = packed(messages)
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=6))
    unpacker = Unpacker(kind)
    found = [message for event in reads(raw, *cuts) for message in unpacker.feed(event.data)]
    assert found == messages


@given(st.one_of(mutated([packed(MESSAGES), packed(TASKS)]), st.binary(max_size=80)))
def test_messages_from_nobody_are_refused(raw: bytes) -> None:
    for kind in (FromWorker, ToWorker):
        unpacker = Unpacker(kind)
        try:
            for message in unpacker.feed(raw):
                assert isinstance(message, msgspec.Struct)
        except TraceError:
            pass


def test_golden_bytes_are_there() -> None:
    assert len(FILES) >= 5
    assert all(isinstance(path, Path) for path in FILES)
