"""From figures to the answer: every case by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from speedbench.doctor import CANNOT_TELL, NO, YES, Answer, Level, answer, judged

TOLERATED = 0.02


def level(streams: int = 8, **changes: Any) -> Level:
    """A level at 25 chunks/s at which all is well: 2% of 40 ms are 0.8 ms."""
    figures: dict[str, Any] = {
        "streams": streams,
        "rate_hz": 25.0,
        "chunks_offered": 600,
        "chunks_received": 600,
        "requests_failed": 0,
        "failures": {},
        "error_ms_p50": 0.01,
        "error_ms_p99": 0.1,
        "ttft_error_ms_p99": 0.1,
        "pace": 1.0,
        "server_late_ms_p99": 0.1,
        "client": {},
    }
    return Level(**{**figures, **changes})


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        ({}, YES, ""),
        ({"error_ms_p99": 0.8}, YES, ""),
        ({"error_ms_p99": 0.81}, NO, "off by 0.81 ms (p99), above the 0.8 ms"),
        ({"chunks_received": 599}, NO, "1 of 600 chunks were lost"),
        (
            {"chunks_received": 525, "requests_failed": 1, "failures": {"http_500": 1}},
            NO,
            "75 of 600 chunks were lost (http_500 1)",
        ),
        # late by more than 2%, yet the stamps are right: the level counts, and it is said
        ({"server_late_ms_p99": 5.0}, YES, "late (5 ms, p99); stamps are held against"),
        ({"server_late_ms_p99": 5.0, "pace": 0.95}, YES, "slower than asked, at 95%"),
        # so late that the load asked for was never there: good stamps prove nothing
        ({"server_late_ms_p99": 900.0, "pace": 0.6}, CANNOT_TELL, "60% of the speed asked for"),
        # bad stamps under less load than asked for would be no better under all of it
        ({"server_late_ms_p99": 900.0, "pace": 0.6, "error_ms_p99": 2.0}, NO, "same cores"),
        ({"error_ms_p99": math.nan}, CANNOT_TELL, "nothing was streamed"),
        ({"server_late_ms_p99": math.nan}, CANNOT_TELL, "nothing was streamed"),
        (
            {"error_ms_p99": 2.0, "client": {"verdict": "faithful", "stamp_error_ms_p99": 0.1}},
            NO,
            "own check would not have said so (its bound: 0.1 ms)",
        ),
    ],
)
def test_a_level_is_judged_by_its_stamps(changes: dict[str, Any], verdict: str, said: str) -> None:
    found = judged(level(**changes), tolerated=TOLERATED)
    assert found.verdict == verdict
    assert said in found.because
    assert bool(said) == bool(found.because)


GOOD: dict[str, Any] = {}
BAD = {"error_ms_p99": 3.0}
UNTESTED = {"pace": 0.5, "server_late_ms_p99": 100.0}


def asked(changes: Sequence[dict[str, Any]], need: int | None = None) -> Answer:
    levels = [level(10**i, **change) for i, change in enumerate(changes)]
    return answer(levels, [judged(one, tolerated=TOLERATED) for one in levels], need=need)


@pytest.mark.parametrize(
    ("changes", "need", "trusted", "code"),
    [
        ([GOOD, GOOD, GOOD], None, 100, 0),
        ([GOOD, BAD, GOOD], None, 1, 0),  # what comes after the first bad level counts for nothing
        ([GOOD, UNTESTED, GOOD], None, 1, 0),
        ([BAD], None, 0, 1),
        ([UNTESTED], None, 0, 3),
        ([], None, 0, 3),
        ([GOOD, GOOD], 10, 10, 0),
        ([GOOD, GOOD, BAD], 10, 10, 0),
        ([GOOD, BAD], 10, 1, 1),
        ([GOOD, UNTESTED], 10, 1, 3),
        ([GOOD, GOOD], 11, 10, 3),  # nobody tried so many
        ([BAD], 1, 0, 1),
    ],
)
def test_the_answer_and_its_exit_code(
    changes: list[dict[str, Any]], need: int | None, trusted: int, code: int
) -> None:
    found = asked(changes, need)
    assert (found.trusted, found.exit_code) == (trusted, code)


def test_the_sentence_says_up_to_where_and_what_is_beyond() -> None:
    assert asked([GOOD, GOOD]).sentence == (
        "trustworthy up to 10 streams of 25 chunks/s on this machine (p99 stamp error 0.1 ms, "
        "0.25% of the time between chunks); more were not tried"
    )
    beyond = asked([GOOD, BAD], 10).sentence
    assert beyond.startswith("trustworthy up to 1 stream of 25 chunks/s")
    assert "10 streams: stamps are off by 3 ms" in beyond
    assert beyond.endswith("--need 10 is not reached")
    assert asked([GOOD, UNTESTED], 10).sentence.endswith("--need 10 is not shown")
    assert asked([BAD]).sentence.startswith("not trustworthy even with few streams")
