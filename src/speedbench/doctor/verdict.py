"""From the figures of each level to one answer: pure, so that every case can be tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

YES = "trustworthy"
NO = "not trustworthy"
CANNOT_TELL = "cannot tell"
MIN_PACE = 0.9
"""A server that delivered less than this share of the speed asked for did not test the level."""
ON_TIME_PACE = 0.99


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at one number of streams.

    `error_ms_*` is how far a chunk's stamp lay from the server's own, `ttft_error_ms_p99` how far
    the time to first token.  `pace` is the ideal duration of the load over its actual one.
    `server_late_ms_p99` is how late the server sent, by its own clock.  `client` is the self-check
    as it stands in the manifest of a run.  Undefined is NaN.
    """

    streams: int
    rate_hz: float
    chunks_offered: int
    chunks_received: int
    requests_failed: int
    failures: dict[str, int]
    error_ms_p50: float
    error_ms_p99: float
    ttft_error_ms_p99: float
    pace: float
    server_late_ms_p99: float
    client: dict[str, Any]

    @property
    def interval_ms(self) -> float:
        """The time between two chunks of a stream, as asked for."""
        return 1e3 / self.rate_hz

    @property
    def share(self) -> float:
        """The error of a stamp (p99) as a share of that time."""
        return self.error_ms_p99 / self.interval_ms

    @property
    def server_late(self) -> float:
        """The server's lateness (p99) as a share of that time."""
        return self.server_late_ms_p99 / self.interval_ms


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on one level, with what is to be said about it; empty when nothing is."""

    verdict: str
    because: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the levels say together.

    `trusted` is the most streams up to which every level is trustworthy; 0 for none.
    """

    verdict: str
    trusted: int
    sentence: str
    exit_code: int


def judged(level: Level, *, tolerated: float) -> Judgement:
    """Judge one level.

    Parameters
    ----------
    level
        Its figures.
    tolerated
        The error of a stamp (p99) that is accepted, as a share of the time between chunks.

    Notes
    -----
    The stamps are compared with those that the server really made, so they are right or wrong
    whether it was on time or not.  But a server that fell behind sent fewer chunks per second: from
    `MIN_PACE` down its level has not been tested, and good stamps there prove nothing.  Bad ones
    under less load than asked for would not be better under all of it.

    Examples
    --------
    >>> level = Level(
    ...     streams=8, rate_hz=25, chunks_offered=600, chunks_received=600, requests_failed=0,
    ...     failures={}, error_ms_p50=0.02, error_ms_p99=0.1, ttft_error_ms_p99=0.2, pace=1.0,
    ...     server_late_ms_p99=0.2, client={},
    ... )
    >>> judged(level, tolerated=0.02).verdict
    'trustworthy'
    """
    limit_ms = tolerated * level.interval_ms
    late = level.server_late > tolerated
    said = f"the paced server was late ({level.server_late_ms_p99:.2g} ms, p99)"
    if level.chunks_received < level.chunks_offered or level.requests_failed:
        lost = level.chunks_offered - level.chunks_received
        kinds = ", ".join(f"{kind} {n}" for kind, n in level.failures.items())
        return Judgement(
            verdict=NO,
            because=f"{lost} of {level.chunks_offered} chunks were lost"
            + (f" ({kinds})" if kinds else ""),
        )
    if math.isnan(level.error_ms_p99) or math.isnan(level.server_late_ms_p99):
        return Judgement(verdict=CANNOT_TELL, because="nothing was streamed")
    if level.share > tolerated:
        wrong = (
            f"stamps are off by {level.error_ms_p99:.2g} ms (p99), above the "
            f"{limit_ms:.2g} ms that are {tolerated:.0%} of the time between chunks"
        )
        shared = f"; {said} too: both want the same cores" if late else ""
        return Judgement(verdict=NO, because=wrong + shared + _unnoticed(level))
    if level.pace < MIN_PACE:
        return Judgement(
            verdict=CANNOT_TELL,
            because=f"{said} and delivered {level.pace:.0%} of the speed asked for: this level was "
            "not tested",
        )
    if late and level.pace < ON_TIME_PACE:
        return Judgement(
            verdict=YES,
            because=f"{said}: streams ran slower than asked, at {level.pace:.0%} of the speed",
        )
    if late:
        return Judgement(
            verdict=YES, because=f"{said}; stamps are held against when it really sent"
        )
    return Judgement(verdict=YES)


def answer(
    levels: Sequence[Level], judgements: Sequence[Judgement], *, need: int | None = None
) -> Answer:
    """Return up to how many streams this client can be trusted, and whether that is enough.

    Parameters
    ----------
    levels, judgements
        In ascending order of streams.  Levels after the first that is not trustworthy count for
        nothing.
    need
        The number of streams that somebody wants to measure with.
    """
    good = 0
    while good < len(levels) and judgements[good].verdict == YES:
        good += 1
    best = levels[good - 1] if good else None
    trusted = best.streams if best else 0
    stopped = good < len(levels)
    limit = ""
    if stopped:
        limit = f"{counted(levels[good].streams)}: {judgements[good].because}"
    verdict = YES
    if best is None or (need is not None and trusted < need):
        verdict = judgements[good].verdict if stopped else CANNOT_TELL
    if best is None:
        sentence = (
            f"{verdict} even with few streams on this machine; {limit or 'nothing was tried'}"
        )
    else:
        sentence = (
            f"trustworthy up to {counted(best.streams)} of {best.rate_hz:g} "
            f"chunks/s on this machine (p99 stamp error {best.error_ms_p99:.2g} ms, "
            f"{best.share:.2%} of the time between chunks)"
        )
        sentence += f"; {limit}" if limit else "; more were not tried"
    if need is not None and verdict != YES:
        sentence += (
            f"; --need {need} is not shown"
            if verdict == CANNOT_TELL
            else (f"; --need {need} is not reached")
        )
    return Answer(
        verdict=verdict,
        trusted=trusted,
        sentence=sentence,
        exit_code={YES: 0, NO: 1, CANNOT_TELL: 3}[verdict],
    )


def _unnoticed(level: Level) -> str:
    """Say so when the self-check of a run would have kept quiet about this."""
    if level.client.get("verdict") != "faithful":
        return ""
    bound_ms = level.client.get("stamp_error_ms_p99", math.nan)
    return f"; the client's own check would not have said so (its bound: {bound_ms:.2g} ms)"


def counted(streams: int) -> str:
    """Return a number of streams in words."""
    return f"{streams} {'stream' if streams == 1 else 'streams'}"
