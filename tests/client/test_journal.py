"""The journal gives back what went in, and damage costs no request that was acknowledged."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import environment

from speedbench.client import journal
from speedbench.client.journal import (
    Began,
    Ended,
    JournalWriter,
    Opened,
    Read,
    Reads,
    Record,
    Sent,
    Wake,
    arrived_ns,
    frames,
    records,
)
from speedbench.errors import CallError, EnvironmentFailedError, TraceError
from speedbench.load import cut_torn_tails, read_journals
from speedbench.records import Failed, Request, Sampling

FAILED = Failed(at_ns=9, kind="reset", detail="the server stopped sending")
STAMP = struct.pack("ll", 5, 7)


def sent(key: int, name: str, attempt: int = 0) -> Sent:
    request = Request(
        id=name,
        prompt_id=name.partition("#")[0],
        turn=0,
        input_hash="abc",
        sampling=Sampling(max_tokens=8),
        input_ids=(1, 2, 70_000),
        messages=(("user", "Grüße\n🙂"),),
    )
    encoded = msgspec.Raw(msgspec.msgpack.encode(request))
    return Sent(key, encoded, "load", 0, attempt, 10 + key, 0, 11 + key)


Flush = tuple[Sequence[Record], Sequence[Read], Sequence[Wake]]
FLUSHES: list[Flush] = [
    ([Opened(1, "2031-01-01T00:00:00+00:00", 0, 0, "kernel", 0), Began(2, "load", 0, 2)], [], []),
    ([sent(0, "a#0"), sent(1, "b#0")], [(1, STAMP, 14, b"data: x\n\n")], [(3, 4, 1)]),
    ([Ended(1, 16, None)], [(0, b"", 15, bytes(range(256)))], [(5, 6, 1)]),
    ([Ended(0, 17, None), sent(2, "c#0")], [], [(7, 8, 0)]),
    ([Ended(2, 20, FAILED)], [], []),
]
ENDS = {1: "b#0", 0: "a#0", 2: "c#0"}


def written(path: Path, flushes: Sequence[Flush] = FLUSHES) -> list[int]:
    """Write `flushes`; return the size of the file after each of them."""
    writer = JournalWriter(path)
    sizes = []
    for appended, reads, wakes in flushes:
        for record in appended:
            writer.append(record)
        writer.reads.extend(reads)
        writer.wakes.extend(wakes)
        writer.flush()
        sizes.append(path.stat().st_size)
    writer.close()
    return sizes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.journal"


def frame_ends(path: Path) -> list[int]:
    return [end for _, end in frames(path)]


def ended_by(path: Path) -> list[tuple[int, str]]:
    """Where each end of a request lies in the file, and of which request."""
    ends = zip(records(path), frame_ends(path), strict=True)
    return [(end, ENDS[record.key]) for record, end in ends if isinstance(record, Ended)]


def test_what_went_in_comes_out_and_what_arrived_comes_before_the_end_it_belongs_to(
    path: Path,
) -> None:
    written(path)
    assert list(records(path)) == [
        *FLUSHES[0][0],
        *FLUSHES[1][0],
        Reads(0, [(3, 4, 1)], [(1, STAMP, 14, b"data: x\n\n")]),
        Reads(0, [(5, 6, 1)], [(0, b"", 15, bytes(range(256)))]),
        Ended(1, 16, None),
        FLUSHES[3][0][1],
        Reads(0, [(7, 8, 0)], []),
        Ended(0, 17, None),
        Ended(2, 20, FAILED),
    ]


def test_nothing_to_write_writes_nothing(path: Path) -> None:
    writer = JournalWriter(path)
    writer.flush()
    assert path.stat().st_size == 0
    writer.close()
    assert list(records(path)) == []


def test_a_flush_is_on_file_while_the_writer_still_lives(path: Path) -> None:
    """Nothing is closed here, as when the process is killed."""
    writer = JournalWriter(path)
    for record in [sent(0, "a#0"), Ended(0, 12, None)]:
        writer.append(record)
    assert set(read_journals([path]).ended()) == set()
    writer.flush()
    assert set(read_journals([path]).ended()) == {"a#0"}
    writer.close()


def test_a_missing_journal_is_an_empty_one(path: Path) -> None:
    recording = read_journals([path])
    assert recording.attempts == {}
    assert (recording.next_key(0), recording.n_launches) == (0, 0)
    assert (recording.good_bytes, recording.torn_bytes) == ((0,), (0,))


def test_keys_go_on_above_those_in_use(path: Path) -> None:
    written(path)
    writer = JournalWriter(path, first_key=read_journals([path]).next_key(0))
    assert [writer.new_key(), writer.new_key()] == [3, 4]
    writer.close()


# --- damage --------------------------------------------------------------------------------------


def test_a_torn_tail_at_every_byte_keeps_exactly_the_acknowledged_requests(path: Path) -> None:
    written(path)
    ends, edges = ended_by(path), frame_ends(path)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        found = read_journals([path])
        assert set(found.ended()) == {name for end, name in ends if end <= size}
        assert found.good_bytes == (max([0, *[end for end in edges if end <= size]]),)
        assert found.good_bytes[0] + found.torn_bytes[0] == size


def test_a_journal_torn_at_any_byte_is_continued_without_a_trace_of_the_damage(path: Path) -> None:
    written(path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 5):
        path.write_bytes(whole[:size])
        torn = read_journals([path])
        assert cut_torn_tails([path]) == list(torn.torn_bytes)
        writer = JournalWriter(path, first_key=torn.next_key(0))
        key = writer.new_key()
        writer.append(sent(key, "d#0"))
        writer.append(Ended(key, 52, None))
        writer.close()
        found = read_journals([path])
        assert found.torn_bytes == (0,)
        assert set(found.ended()) == {*torn.ended(), "d#0"}


def test_one_flipped_bit_anywhere_is_detected(path: Path) -> None:
    """What is read is what was written up to the damage, and nothing after it."""
    written(path)
    edges = frame_ends(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        found = read_journals([path])
        assert found.good_bytes == (max([0, *[end for end in edges if end <= position]]),)
        assert found.torn_bytes[0] > 0


@given(st.binary(max_size=200))
def test_no_file_at_all_makes_the_reader_fail(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.journal"
    path.write_bytes(content)
    found = read_journals([path])
    assert found.attempts == {}
    assert found.good_bytes[0] + found.torn_bytes[0] == len(content)


def framed(payload: bytes) -> bytes:
    return struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=9) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=9),
    ).map(msgspec.msgpack.encode),
    st.tuples(
        st.sampled_from(["opened", "began", "sent", "reads", "ended", "vitals"]),
        st.lists(
            st.none() | st.integers(0, 9) | st.text(max_size=3) | st.lists(st.integers(0, 9)),
            max_size=9,
        ),
    ).map(lambda parts: msgspec.msgpack.encode([parts[0], *parts[1]])),
)


@given(st.lists(PAYLOADS, max_size=3))
def test_intact_frames_of_anything_are_a_result_or_a_trace_error(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "foreign.journal"
    path.write_bytes(b"".join(map(framed, payloads)))
    with contextlib.suppress(TraceError):
        recording = read_journals([path])
        list(recording.exchanges(recording.attempts))


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode(["ended", "x"])])
def test_an_intact_record_of_another_schema_is_said_to_be_one(payload: bytes, path: Path) -> None:
    path.write_bytes(framed(payload))
    with pytest.raises(TraceError, match="another schema"):
        read_journals([path])


@pytest.mark.parametrize("record", [Ended(7, 1, None), Ended(1, 40, None)])
def test_an_end_outside_its_attempt_is_impossible_and_says_so(record: Ended, path: Path) -> None:
    written(path, [*FLUSHES, ([record], [], [])])
    with pytest.raises(TraceError, match=f"attempt {record.key} stands outside"):
        read_journals([path])


def test_bytes_of_no_attempt_are_impossible_and_say_so(path: Path) -> None:
    written(path, [*FLUSHES, ([], [(9, b"", 30, b"late")], [])])
    recording = read_journals([path])
    with pytest.raises(TraceError, match="attempt 9"):
        list(recording.exchanges(recording.attempts))


# --- the disk, and others ------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("how", ["flush", "close"])
def test_a_full_disk_is_one_sentence_with_exit_code_4(how: str, path: Path) -> None:
    os.symlink("/dev/full", path)
    writer = JournalWriter(path)
    writer.append(sent(0, "a#0"))
    with pytest.raises(EnvironmentFailedError, match="no space left on the disk") as caught:
        getattr(writer, how)()
    assert caught.value.exit_code == 4
    assert "--resume" in str(caught.value)


def test_a_journal_that_cannot_be_opened_says_where(tmp_path: Path) -> None:
    (tmp_path / "worker-0.journal").mkdir()
    with pytest.raises(EnvironmentFailedError, match=r"worker-0\.journal"):
        JournalWriter(tmp_path / "worker-0.journal")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LOCK_TIMEOUT_S", 0.1)


@pytest.mark.usefixtures("impatient")
def test_two_processes_cannot_write_one_journal(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from speedbench.client.journal import JournalWriter;"
        f"w = JournalWriter(Path({str(path)!r})); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(CallError, match="written by another process"):
                JournalWriter(path)
            with pytest.raises(CallError, match="written by another process"):
                cut_torn_tails([path])
        finally:
            other.kill()
    JournalWriter(path).close()  # the lock of a killed process is free


@given(st.integers(0, 2**40), st.integers(0, 999_999_999), st.integers(-(2**60), 2**60))
def test_a_kernels_stamp_is_moved_to_the_monotonic_clock(
    seconds: int, nanoseconds: int, offset_ns: int
) -> None:
    stamp = struct.pack("ll", seconds, nanoseconds)
    assert arrived_ns(stamp, offset_ns) == seconds * 10**9 + nanoseconds - offset_ns


def test_no_stamp_is_zero() -> None:
    assert arrived_ns(b"", 5) == 0
