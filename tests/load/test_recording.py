"""Journals, read: the attempt that counts, and the stamp that is believed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from speedbench import load
from speedbench.client.journal import Ended, JournalWriter, Opened, Read, Record, Sent
from speedbench.records import Event, Failed, Request, Sampling

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
OFFSET_NS = 1_000_000_000_000
FAILED = Failed(at_ns=1, kind="http_503", detail="busy")


def request(name: str) -> Request:
    return Request(id=name, prompt_id=name, turn=0, input_hash="", sampling=Sampling(max_tokens=8))


def sent(key: int, name: str, sent_ns: int, *, attempt: int = 0, phase: str = "load") -> Sent:
    raw = msgspec.Raw(msgspec.msgpack.encode(request(name)))
    return Sent(key, raw, phase, 0, attempt, sent_ns - 1, 0, sent_ns)


def opened(launch: int, worker: int = 0) -> Opened:
    return Opened(0, "", launch, worker, "kernel", 0)


def kernel(at_ns: int) -> bytes:
    """A stamp of the kernel that lies at `at_ns` on the monotonic clock."""
    return struct.pack("ll", *divmod(at_ns + OFFSET_NS, 1_000_000_000))


def journal(directory: Path, worker: int, *entries: Record | Read) -> Path:
    """A journal that holds `entries` one after the other."""
    path = directory / f"worker-{worker}.journal"
    writer = JournalWriter(path)
    writer.offset_ns = OFFSET_NS
    for entry in entries:
        if isinstance(entry, tuple):
            writer.reads.append(entry)
        else:
            writer.append(entry)
        writer.flush()
    writer.close()
    return path


def events_of(directory: Path, reads: Sequence[tuple[bytes, int, bytes]]) -> list[Event]:
    path = journal(
        directory, 0, opened(0), sent(0, "a#0", 100), *[(0, *read) for read in reads],
        Ended(0, 900, None),
    )  # fmt: skip
    recording = load.read_journals([path])
    (exchange,) = recording.exchanges(recording.ended().values())
    return exchange.events


@pytest.mark.parametrize(
    ("stamps", "believed"),
    [
        ([kernel(205), kernel(301)], [205, 301]),
        ([b"", b""], [210, 310]),
        ([kernel(205), b""], [205, 310]),
        ([kernel(211), kernel(301)], [210, 301]),  # after the read: the clock was set forward
        ([kernel(99), kernel(301)], [210, 301]),  # before the request went out
        ([kernel(209), kernel(208)], [209, 310]),  # before the last read
        ([kernel(99), kernel(205)], [210, 310]),  # before the last read's own stamp
        ([kernel(100), kernel(100)], [100, 100]),  # the edges are possible
        ([kernel(210), kernel(310)], [210, 310]),
    ],
)
def test_the_kernels_stamp_is_believed_where_it_can_be_true(
    stamps: list[bytes], believed: list[int], tmp_path: Path
) -> None:
    first, second = stamps
    events = events_of(tmp_path, [(first, 210, HEAD + b"x"), (second, 310, b"y")])
    assert events == [Event(believed[0], b"x"), Event(believed[1], b"y")]


def test_a_read_without_any_of_the_body_is_no_event(tmp_path: Path) -> None:
    events = events_of(tmp_path, [(b"", 200, HEAD[:20]), (b"", 210, HEAD[20:]), (b"", 220, b"x")])
    assert events == [Event(220, b"x")]


def test_attempts_are_told_by_journal_and_key(tmp_path: Path) -> None:
    a = journal(tmp_path, 0, opened(0), sent(0, "a#0", 10), (0, b"", 11, HEAD + b"A"),
                Ended(0, 12, None))  # fmt: skip
    b = journal(tmp_path, 1, opened(0, 1), sent(0, "b#0", 5), (0, b"", 6, HEAD + b"B"),
                Ended(0, 7, FAILED))  # fmt: skip
    recording = load.read_journals([a, b])
    assert recording.ended() == {"a#0": (0, 0), "b#0": (1, 0)}
    assert recording.delivered() == {"a#0": (0, 0)}
    assert recording.failure((1, 0)) == FAILED
    assert list(recording.attempts) == [(1, 0), (0, 0)]  # in the order sent
    found = {x.request.id: (x.events, x.worker) for x in recording.exchanges(recording.attempts)}
    assert found == {"a#0": ([Event(11, b"A")], 0), "b#0": ([Event(6, b"B")], 1)}


def test_the_last_attempt_that_ended_counts(tmp_path: Path) -> None:
    path = journal(
        tmp_path, 0, opened(0),
        sent(0, "a#0", 10), Ended(0, 12, FAILED),
        sent(1, "a#0", 20, attempt=1), (1, b"", 21, HEAD + b"good"), Ended(1, 22, None),
        sent(2, "a#0", 30), (2, b"", 31, HEAD + b"cut off"),
    )  # fmt: skip
    recording = load.read_journals([path])
    assert recording.ended() == recording.delivered() == {"a#0": (0, 1)}
    (exchange,) = recording.exchanges(recording.ended().values())
    assert exchange.events == [Event(21, b"good")]
    assert exchange.sent.attempt == 1
    *_, cut_off = recording.exchanges(recording.attempts)
    assert cut_off.ended is None


def test_a_later_launch_counts_more_than_a_later_clock(tmp_path: Path) -> None:
    """The monotonic clock begins anew when the machine does."""
    a = journal(tmp_path, 0, opened(0), sent(0, "a#0", 9_000), Ended(0, 9_001, FAILED))
    b = journal(tmp_path, 1, opened(1, 1), sent(0, "a#0", 10), Ended(0, 12, None))
    for order in ([a, b], [b, a]):
        recording = load.read_journals(order)
        assert set(recording.delivered()) == {"a#0"}
        assert recording.n_launches == 2
        assert [attempt.launch for attempt in recording.attempts.values()] == [0, 1]


def test_launches_of_one_journal_are_told_apart(tmp_path: Path) -> None:
    path = journal(
        tmp_path, 0, opened(0), sent(0, "a#0", 10), Ended(0, 12, None),
        opened(1), sent(1, "b#0", 5), Ended(1, 7, None),
    )  # fmt: skip
    recording = load.read_journals([path])
    assert {a.request.id: a.launch for a in recording.attempts.values()} == {"a#0": 0, "b#0": 1}
    assert recording.next_key(0) == 2


def test_other_phases_are_kept_and_not_counted(tmp_path: Path) -> None:
    path = journal(tmp_path, 0, opened(0), sent(0, "a#0", 10, phase="warm_up"), Ended(0, 12, None))
    recording = load.read_journals([path])
    assert recording.ended() == {}
    assert len(recording.attempts) == 1


def test_the_time_spent_adds_up_over_launches(tmp_path: Path) -> None:
    path = journal(
        tmp_path, 0, opened(0),
        sent(0, "w#0", 1, phase="warm_up"), Ended(0, 2, None),
        sent(1, "a#0", 1_000_000_001), Ended(1, 2_000_000_000, None),
        sent(2, "b#0", 3_000_000_000),
        opened(1), sent(3, "b#0", 500_000_001), Ended(3, 1_000_000_000, None),
    )  # fmt: skip
    assert load.spent_s(load.read_journals([path])) == pytest.approx(2.5)
