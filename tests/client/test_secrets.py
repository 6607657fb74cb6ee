"""A secret is masked wherever a read may have cut it, and nothing but the bytes of secrets is."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from speedbench.client.secrets import MASK, Redactor, StreamRedactor

LETTERS = st.sampled_from(b"abc\n")
WORDS = st.binary(min_size=4, max_size=7).map(lambda raw: bytes(b"abcd"[c % 4] for c in raw))
PIECES = st.lists(st.lists(LETTERS, max_size=6).map(bytes), max_size=8)


def redacted(secrets: list[bytes], pieces: list[bytes]) -> list[bytes]:
    stream = StreamRedactor(Redactor(secrets))
    return [stream.redact(piece) for piece in pieces]


@given(st.lists(WORDS, min_size=1, max_size=3), PIECES, st.data())
def test_no_secret_is_left_however_the_stream_is_read(
    secrets: list[bytes], pieces: list[bytes], data: st.DataObject
) -> None:
    text = b"".join(
        piece + data.draw(st.sampled_from([b"", *secrets]), label="secret") for piece in pieces
    )
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted), label="cuts")
    edges = [0, *cuts, len(text)]
    reads = [text[a:b] for a, b in itertools.pairwise(edges)]
    found = redacted(secrets, reads)
    assert [len(piece) for piece in found] == [len(piece) for piece in reads]
    whole = b"".join(found)
    for secret in secrets:
        assert secret not in whole
    assert all(now in (then, MASK[0]) for then, now in zip(text, whole, strict=True))


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_secret_cut_anywhere_twice_is_masked(first: int, second: int) -> None:
    a, b = sorted((first, second))
    secret = b"sesame123"
    reads = [b"key " + secret[:a], secret[a:b], secret[b:] + b" refused"]
    shown = b"".join(redacted([secret], reads))
    assert shown.startswith(b"key ")
    assert shown.endswith(b" refused")
    left = shown[4:13].replace(MASK, b"")
    assert len(left) < 4  # less than what gives anything away


@given(PIECES)
@example([b"seca", b"me\n"])
def test_without_a_secret_only_what_may_begin_one_is_masked(pieces: list[bytes]) -> None:
    assert redacted([b"sesame"], pieces) == pieces


def test_what_turns_out_to_be_none_is_masked_all_the_same() -> None:
    """The read has been written down before the next one is known."""
    assert redacted([b"sesame"], [b"sesa", b"wn"]) == [b"****", b"wn"]


@given(st.binary(max_size=60), st.lists(st.binary(max_size=6), max_size=3))
def test_any_bytes_are_redacted_to_as_many(data: bytes, secrets: list[bytes]) -> None:
    found = Redactor(secrets).redact(data)
    assert len(found) == len(data)
    assert not any(secret in found for secret in secrets if len(secret) >= 4)


def test_a_fragment_that_gives_nothing_away_is_not_hidden() -> None:
    assert not Redactor([b"", b"abc"])
    assert Redactor([b"", b"abc"]).redact(b"abcabc") == b"abcabc"


def test_a_secret_within_another_leaves_nothing_of_either() -> None:
    assert Redactor([b"same1", b"sesame123"]).redact(b"sesame123 same1") == b"********* *****"
