"""The load client against a server that keeps its own schedule, at one level after another.

Everything goes the way of a run: the same workers, journals and trace.  Only the answers are
special: each chunk carries the server's clock, so that every stamp can be held against the truth.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from speedbench import analysis, datasets, launch, pipeline
from speedbench.config import RunConfig, validated
from speedbench.doctor.machine import most_streams
from speedbench.doctor.verdict import Level
from speedbench.endpoints import endpoint
from speedbench.errors import CallError, TraceError
from speedbench.records import Prompt
from speedbench.trace import Trace

TTFT_S = 0.1
RAMP_S_PER_STREAM = 0.001
MAX_RAMP_S = 1.0
MAX_CHUNKS = 100_000
MS = 1e-6
"""Milliseconds per nanosecond."""


@dataclass(frozen=True)
class Plan:
    """What is tried: levels in ascending order, each with streams of `seconds` at `rate_hz`."""

    levels: tuple[int, ...]
    rate_hz: float = 25.0
    seconds: float = 3.0
    stamps: str = "kernel"
    workers: int | None = None

    @property
    def n_chunks(self) -> int:
        """The chunks of one stream."""
        return max(2, round(self.rate_hz * self.seconds))

    def ramp_s(self, streams: int) -> float:
        """Return over which time the streams of a level begin, so that they do not run in step."""
        return 0.0 if streams == 1 else min(MAX_RAMP_S, streams * RAMP_S_PER_STREAM)

    def ideal_s(self, streams: int) -> float:
        """Return how long a level lasts when nobody is late, first request to last chunk."""
        last_begins_s = self.ramp_s(streams) * (streams - 1) / streams
        return last_begins_s + TTFT_S + (self.n_chunks - 1) / self.rate_hz

    def config(self, streams: int, base_url: str) -> RunConfig:
        """Return one level as the run that it is.

        Raises
        ------
        CallError
            When it is no load that can be run.
        """
        return validated(
            {
                "engine": {"engine": "openai", "base_url": base_url},
                "load": {
                    "concurrency": streams,
                    "ramp": self.ramp_s(streams),
                    "warm_up": 0,
                    "stamps": self.stamps,
                    "workers": self.workers,
                    "max_failures": "100%",
                },
                "sampling": {"max_tokens": self.n_chunks},
            }
        )

    def validate(self) -> None:
        """Raise CallError for what cannot be tried."""
        if not 0 < self.rate_hz <= 10_000:
            raise CallError(f"--rate {self.rate_hz:g}: must lie between 0 and 10000 chunks/s")
        if not 0 < self.seconds <= 600 or self.n_chunks > MAX_CHUNKS:
            raise CallError(
                f"--seconds {self.seconds:g}: must lie between 0 and 600, and a stream may have "
                f"{MAX_CHUNKS} chunks"
            )
        if not self.levels or min(self.levels) < 1:
            raise CallError("--levels: must be numbers of streams from 1 up")
        if max(self.levels) > most_streams():
            raise CallError(
                f"--levels {max(self.levels)}: the paced server is one process, which can hold "
                f"{most_streams()} streams here; ulimit -Hn raises that"
            )
        for streams in self.levels:
            try:
                self.config(streams, "http://127.0.0.1")
            except CallError as error:
                raise CallError(str(error).replace("--concurrency", "--levels")) from error


def measured(
    plan: Plan, scratch: Path, observer: Callable[[int], pipeline.Observer]
) -> Iterator[Level]:
    """Yield what was found at each level.

    Parameters
    ----------
    plan
        What to try.
    scratch
        Where the runs are written.
    observer
        Makes an observer of one level.

    Raises
    ------
    EngineError
        When the paced server cannot be started or ends.
    """
    for streams in plan.levels:
        yield _level(plan, streams, scratch, observer(streams))


def _level(plan: Plan, streams: int, scratch: Path, observer: pipeline.Observer) -> Level:
    directory = scratch / f"c{streams}"
    command = [sys.executable, "-m", "speedbench.paced"]
    command += ["--rate", str(plan.rate_hz), "--ttft", str(TTFT_S)]
    with launch.launched(command, scratch / f"c{streams}.log") as server:
        config = plan.config(streams, server.base_url)
        asyncio.run(_load(config, directory, streams, observer))
        late_ms = _lateness_ms(int(server.ready["port"]))
    _, columns = analysis.read_trace(directory)
    client = analysis.checked_client(directory, columns).facts
    return compared(plan, streams, columns, late_ms, client)


async def _load(
    config: RunConfig, directory: Path, streams: int, observer: pipeline.Observer
) -> None:
    prompts = [Prompt(id=f"s{i}", category="qa", turns=("Stream.",)) for i in range(streams)]
    data = datasets.Dataset("paced", "0", tuple(prompts))
    with pipeline.opened_run(config, directory, resume=False) as open_run:
        async with endpoint(config, open_run.directory.path) as where:
            pipeline.begin_run(open_run, data, prompts, where)
            async with pipeline.staffed(open_run, where) as workers:
                await pipeline.measure(open_run, where, workers, prompts, observer)


def _lateness_ms(port: int) -> float:
    """Ask the paced server how late it was (p99)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/lateness")
        found = json.loads(connection.getresponse().read())["p99_ms"]
    finally:
        connection.close()
    return float("nan") if found is None else float(found)


def compared(
    plan: Plan, streams: int, columns: Trace, late_ms: float, client: dict[str, Any]
) -> Level:
    """Hold every stamp of a level against the one that the server wrote into the chunk.

    Raises
    ------
    TraceError
        When a chunk holds no stamp, or more than one.
    """
    answered = columns.requests.filter(pl.col("failure_kind").is_null())
    failed = columns.requests.filter(pl.col("failure_kind").is_not_null())
    sent_ns, arrived_ns, firsts = server_stamps(answered["output_text"].to_list())
    at_ns = columns.chunks["at_ns"].to_numpy()
    if len(sent_ns) != len(at_ns):
        raise TraceError(f"the paced server's {len(at_ns)} chunks hold {len(sent_ns)} stamps")
    error_ms = np.abs(at_ns - sent_ns) * MS
    ttft_ns = answered["first_ns"].to_numpy() - answered["sent_ns"].to_numpy()
    ttft_error_ms = np.abs(ttft_ns - (sent_ns[firsts] - arrived_ns)) * MS
    pace = float("nan")
    if len(at_ns):
        began_ns = answered["scheduled_ns"].to_numpy().min()
        pace = plan.ideal_s(streams) / float((at_ns.max() - began_ns) * 1e-9)
    return Level(
        streams=streams,
        rate_hz=plan.rate_hz,
        chunks_offered=streams * plan.n_chunks,
        chunks_received=len(at_ns),
        requests_failed=len(failed),
        failures=dict(failed["failure_kind"].value_counts(sort=True).iter_rows()),
        error_ms_p50=_percentile(error_ms, 50),
        error_ms_p99=_percentile(error_ms, 99),
        ttft_error_ms_p99=_percentile(ttft_error_ms, 99),
        pace=pace,
        server_late_ms_p99=late_ms,
        client=client,
    )


def server_stamps(
    texts: list[str],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return when the server sent each chunk, when each request arrived, and its first chunk.

    >>> server_stamps([" a5 s7 s9", " a6 s8"])
    (array([7, 9, 8]), array([5, 6]), array([0, 2]))
    """
    sent: list[int] = []
    arrived: list[int] = []
    firsts: list[int] = []
    for text in texts:
        firsts.append(len(sent))
        for word in text.split():
            (sent if word[0] == "s" else arrived).append(int(word[1:]))
    if len(arrived) != len(texts):
        raise TraceError(f"the paced server's {len(texts)} answers hold {len(arrived)} arrivals")
    columns = (np.array(stamps, dtype=np.int64) for stamps in (sent, arrived, firsts))
    sent_ns, arrived_ns, first_chunks = columns
    return sent_ns, arrived_ns, first_chunks


def _percentile(values: NDArray[np.float64], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else float("nan")
