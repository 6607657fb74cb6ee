"""The journal gives back what went in, and damage costs no request that was acknowledged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.errors import EnvironmentFailedError, TraceError
from speedbench.load import JournalWriter, Opened, cut_torn_tail, read_journal
from speedbench.load.journal import Data, Ended, Record, Sent
from speedbench.records import Event, Failed, Request, Sampling

FAILED = Failed(at_ns=9, kind="timeout", detail="the server stopped sending")


def request(name: str) -> Request:
    return Request(
        id=name,
        prompt_id=name.partition("#")[0],
        turn=0,
        input_hash="abc",
        sampling=Sampling(max_tokens=8),
        input_ids=(1, 2, 70_000),
        messages=(("user", "Grüße\n🙂"),),
    )


RECORDS: list[Record] = [
    Opened(1, "2031-01-01T00:00:00+00:00", 0),
    Sent(0, request("a#0"), 0, 10, 11),
    Sent(1, request("b#0"), 0, 12, 13),
    Data(1, 14, b"data: x\n\n"),
    Data(0, 15, bytes(range(256))),
    Ended(1, 16, None),
    Ended(0, 17, None),
    Sent(2, request("c#0"), 1, 18, 19),
    Ended(2, 20, FAILED),
]


def written(path: Path, records: list[Record]) -> list[int]:
    """Write `records`; return the size of the file after each of them."""
    journal = JournalWriter(path)
    sizes = []
    for record in records:
        journal.append(record)
        journal._file.flush()
        sizes.append(path.stat().st_size)
    journal.close()
    return sizes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.journal"


def test_what_went_in_comes_out(path: Path) -> None:
    written(path, RECORDS)
    found = read_journal(path)
    assert [exchange.sent for exchange in found.exchanges] == [
        record for record in RECORDS if isinstance(record, Sent)
    ]
    first, second, third = found.exchanges
    assert first.events == [Event(15, bytes(range(256)))]
    assert second.events == [Event(14, b"data: x\n\n")]
    assert third.ended == Ended(2, 20, FAILED)
    assert found.n_torn_bytes == 0
    assert found.next_key == 3


def test_a_failed_request_ended_but_is_not_finished(path: Path) -> None:
    written(path, RECORDS)
    found = read_journal(path)
    assert set(found.ended()) == {"a#0", "b#0", "c#0"}
    assert set(found.finished()) == {"a#0", "b#0"}


def test_the_last_attempt_that_ended_is_the_one_that_counts(path: Path) -> None:
    again = [Sent(3, request("c#0"), 1, 30, 31), Data(3, 32, b"y"), Ended(3, 33, None)]
    written(path, [*RECORDS, *again, Sent(4, request("c#0"), 1, 40, 41)])
    found = read_journal(path).finished()["c#0"]
    assert found.sent.sent_ns == 31
    assert found.events == [Event(32, b"y")]


def test_a_missing_journal_is_an_empty_one(path: Path) -> None:
    assert read_journal(path).exchanges == []
    assert read_journal(path).next_key == 0


def test_a_torn_tail_at_every_byte_keeps_exactly_the_acknowledged_requests(path: Path) -> None:
    sizes = written(path, RECORDS)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        found = read_journal(path)
        n_records = sum(end <= size for end in sizes)
        acknowledged = {
            RECORDS[1 + record.key].request.id if record.key < 2 else "c#0"
            for record in RECORDS[:n_records]
            if isinstance(record, Ended)
        }
        assert set(found.ended()) == acknowledged
        assert found.n_good_bytes == max([0, *[end for end in sizes if end <= size]])
        assert found.n_good_bytes + found.n_torn_bytes == size


def test_a_journal_torn_at_any_byte_is_continued_without_a_trace_of_the_damage(path: Path) -> None:
    sizes = written(path, RECORDS)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        torn = read_journal(path)
        cut_torn_tail(path, torn)
        journal = JournalWriter(path, first_key=torn.next_key)
        key = journal.new_key()
        journal.append(Sent(key, request("d#0"), 0, 50, 51))
        journal.append(Ended(key, 52, None))
        journal.close()
        found = read_journal(path)
        assert found.n_torn_bytes == 0
        assert set(found.ended()) == {*torn.ended(), "d#0"}
    assert sizes[-1] == len(whole)


def test_one_flipped_bit_anywhere_is_detected(path: Path) -> None:
    """What is read is what was written up to the damage, and nothing after it."""
    sizes = written(path, RECORDS)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        found = read_journal(path)
        assert found.n_good_bytes == max([0, *[end for end in sizes if end <= position]])
        assert found.n_torn_bytes > 0


@given(st.binary(max_size=200))
def test_no_file_at_all_makes_the_reader_fail(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.journal"
    path.write_bytes(content)
    found = read_journal(path)
    assert found.exchanges == []
    assert found.n_torn_bytes == len(content)


def test_a_record_outside_its_attempt_is_impossible_and_says_so(path: Path) -> None:
    written(path, [*RECORDS, Data(1, 30, b"late")])
    with pytest.raises(TraceError, match="attempt 1"):
        read_journal(path)


def test_an_ended_request_is_on_file_while_the_writer_still_lives(path: Path) -> None:
    """Nothing is closed here, as when the process is killed."""
    journal = JournalWriter(path)
    for record in RECORDS[:6]:
        journal.append(record)
    assert set(read_journal(path).ended()) == {"b#0"}
    journal.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("how", ["append", "close"])
def test_a_full_disk_is_one_sentence_with_exit_code_4(how: str, path: Path) -> None:
    os.symlink("/dev/full", path)
    journal = JournalWriter(path)
    journal.append(RECORDS[1])
    actions: dict[str, Callable[[], None]] = {
        "append": lambda: journal.append(Ended(0, 1, None)),
        "close": journal.close,
    }
    with pytest.raises(EnvironmentFailedError, match="no space left on the disk") as caught:
        actions[how]()
    assert caught.value.exit_code == 4
    assert "--resume" in str(caught.value)
    if how == "append":
        with pytest.raises(EnvironmentFailedError):
            journal.close()
