"""Server-sent events come out the same however the network cuts the bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import reads
from tests.server import chat

from speedbench.engines.sse import messages
from speedbench.records import Event

STREAM = chat("Grüße", " 日本語", " 🙂", " end").body
STREAM_CRLF = chat("Grüße", " 日本語", " 🙂", " end", newline=b"\r\n").body


def payloads(data: bytes, *positions: int) -> list[bytes]:
    return [payload for _, payload in messages(reads(data, *positions))]


@given(st.sets(st.integers(0, len(STREAM))))
def test_any_split_into_reads_gives_the_same_messages(positions: set[int]) -> None:
    assert payloads(STREAM, *positions) == payloads(STREAM)


@given(st.sets(st.integers(0, len(STREAM_CRLF))))
def test_crlf_gives_the_same_messages_as_lf_wherever_it_is_split(positions: set[int]) -> None:
    assert payloads(STREAM_CRLF, *positions) == payloads(STREAM)


@given(st.sets(st.integers(1, len(STREAM) - 1), min_size=1))
def test_a_message_bears_the_stamp_of_the_read_that_completed_it(positions: set[int]) -> None:
    ends = [i + 2 for i in range(len(STREAM)) if STREAM[i : i + 2] == b"\n\n"]
    expected = [1 + sum(position < end for position in positions) for end in ends]
    assert [stamp for stamp, _ in messages(reads(STREAM, *positions))] == expected


def test_each_byte_by_itself_is_read_like_all_at_once() -> None:
    assert payloads(STREAM, *range(len(STREAM))) == payloads(STREAM)


def test_comments_and_other_fields_are_passed_over() -> None:
    stream = b": keep-alive\n\nevent: message\nid: 7\ndata: 1\n\n:\n\n"
    assert payloads(stream) == [b"1"]


def test_data_lines_of_one_event_are_joined_by_newline() -> None:
    assert payloads(b"data: {\ndata: }\n\n") == [b"{\n}"]


def test_only_one_space_after_the_colon_belongs_to_the_field() -> None:
    assert payloads(b"data:  x\n\ndata:y\n\n") == [b" x", b"y"]


def test_an_event_without_its_blank_line_is_not_a_message() -> None:
    assert payloads(b"data: 1\n\ndata: 2\n") == [b"1"]


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_at_all_can_make_it_fail(pieces: list[bytes]) -> None:
    list(messages([Event(i, piece) for i, piece in enumerate(pieces)]))
