"""From a load's configuration to what is sent when, and by how many workers."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speedbench.client.limits import most_descriptors
from speedbench.client.messages import Setup, Timeouts
from speedbench.config import ChatConfig, LoadConfig
from speedbench.errors import CallError, DataError
from speedbench.load.arrivals import constant_arrivals, poisson_arrivals, recorded_arrivals
from speedbench.load.conversation import Conversation
from speedbench.load.driver import Shape
from speedbench.load.recording import MEASURED, Recording
from speedbench.load.target import Target
from speedbench.records import Answer, Prompt, Sampling
from speedbench.tokenization import ChatTokenizer

NO_CHAT = ChatConfig()
STREAMS_PER_WORKER = 2048
"""One worker is faithful to so many streams (benchmarks/client.py); more share them."""
SPARE_DESCRIPTORS = 64
_ARRIVALS_KEY = 1
"""Sets the random numbers of arrivals apart from others of the same seed."""


def workers_for(config: LoadConfig) -> int:
    """Return how many worker processes share a load: as asked, or as many as pay.

    Raises
    ------
    CallError
        When the streams of one worker need more file descriptors than it can have.
    """
    wanted = math.ceil((config.limit or 1) / STREAMS_PER_WORKER)
    n_workers = config.workers or max(1, min(wanted, (os.cpu_count() or 2) - 1))
    need = math.ceil((config.limit or 1) / n_workers) + SPARE_DESCRIPTORS
    most = most_descriptors()
    if need > most:
        raise CallError(
            f"--concurrency {config.limit} needs {need} file descriptors in one process, and the "
            f"limit is {most}: raise it (ulimit -Hn) or give more --workers"
        )
    return n_workers


def setup_of(
    config: LoadConfig, target: Target, recording: Recording, journal: Path, worker: int, torn: int
) -> Setup:
    """Return what a worker is told first."""
    limits = config.timeouts
    known = journal in recording.paths
    return Setup(
        worker=worker,
        launch=recording.n_launches,
        journal=str(journal.resolve()),
        first_key=recording.next_key(recording.paths.index(journal)) if known else 0,
        n_torn_bytes=torn,
        addresses=target.addresses(),
        tls_name=target.host if target.tls else "",
        ca_file=str(target.ca_file.resolve()) if target.ca_file else "",
        secrets=target.secrets,
        timeouts=Timeouts(
            connect_s=limits.connect_timeout,
            first_byte_s=limits.first_byte_timeout,
            between_bytes_s=limits.between_bytes_timeout,
            total_s=limits.total_timeout,
        ),
        retries=config.retries,
        stamps=config.stamps,
    )


def shape_of(
    config: LoadConfig, n_conversations: int, seed: int, *, block: int = 0, spent_s: float = 0.0
) -> Shape:
    """Return the shape of a load.

    Parameters
    ----------
    config
        The load.
    n_conversations
        How many there are, unless a duration decides.
    seed
        Of the run; it decides Poisson arrivals.
    block
        The number of this part of the run.
    spent_s
        How long an interrupted run has already gone on, of its duration.

    Raises
    ------
    DataError
        When the file of arrival times cannot be read.
    """
    duration_s = None if config.duration is None else max(config.duration - spent_s, 1e-3)
    arrivals_s = None
    if config.open_loop:
        arrivals_s = _arrivals(config, n_conversations, seed)
        if config.duration is not None:
            arrivals_s = arrivals_s[arrivals_s < config.duration]
            arrivals_s = arrivals_s[arrivals_s >= spent_s] - spent_s
    return Shape(
        concurrency=config.limit,
        ramp_s=config.ramp,
        arrivals_s=None if arrivals_s is None else arrivals_s.tolist(),
        duration_s=duration_s,
        block=block,
    )


def _arrivals(config: LoadConfig, n: int, seed: int) -> NDArray[np.float64]:
    if config.arrival_times is not None:
        return recorded_arrivals(read_arrival_times(config.arrival_times))
    assert config.request_rate is not None
    if config.duration is not None:  # more than enough: ten standard deviations
        mean = config.request_rate * config.duration
        n = math.ceil(mean + 10 * math.sqrt(mean) + 10)
    if config.arrivals == "constant":
        return constant_arrivals(config.request_rate, n)
    rng = np.random.default_rng([seed, _ARRIVALS_KEY])
    return poisson_arrivals(config.request_rate, n, rng=rng)


def read_arrival_times(path: Path) -> NDArray[np.float64]:
    """Read arrival times in seconds, one a line; an empty line or a first line of words is skipped.

    Raises
    ------
    DataError
        When there is no such file, or a line is no number, by its number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--arrival-times {path} cannot be read: {error}") from error
    times = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            times.append(float(line.partition(",")[0]))
        except ValueError as error:
            if number == 1:
                continue
            raise DataError(f"{path}:{number}: {line[:40]!r} is no time in seconds") from error
    if not times or not np.isfinite(times).all():
        raise DataError(f"{path} holds no arrival times, or one that is not finite")
    return np.array(times)


def conversations(
    prompts: Sequence[Prompt],
    sampling: Sampling,
    tokenizer: ChatTokenizer | None,
    *,
    histories: Mapping[str, Sequence[Answer]] | None = None,
    endless: bool = False,
    chat: ChatConfig = NO_CHAT,
) -> Iterator[Conversation]:
    """Yield a conversation for each prompt; endlessly, lap after lap, where a duration decides."""
    for lap in itertools.count() if endless else range(1):
        for prompt in prompts:
            history = None if histories is None else histories[prompt.id]
            yield Conversation(prompt, sampling, tokenizer, history, lap, chat)


def histories(
    prompts: Sequence[Prompt], answers: Mapping[str, Answer], source: Path, *, ids: bool
) -> dict[str, list[Answer]]:
    """Return the recorded answers that later turns are told, by prompt.

    Raises
    ------
    CallError
        When an answer is missing, or has no token ids and `ids` are needed.
    """
    found = {}
    for prompt in prompts:
        names = [f"{prompt.id}#{turn}" for turn in range(len(prompt.turns) - 1)]
        for name in names:
            if name not in answers:
                raise CallError(
                    f"--history {source} holds no answer to {name}: it must be a finished run over "
                    "the same prompts"
                )
            if ids and answers[name].token_ids is None:
                raise CallError(f"--history {source} holds no token ids of the answer to {name}")
        found[prompt.id] = [answers[name] for name in names]
    return found


def spent_s(recording: Recording) -> float:
    """Return how long the measured load of an interrupted run went on, launches added up."""
    spans: dict[int, list[int]] = {}
    for attempt in recording.attempts.values():
        if attempt.sent.phase == MEASURED:
            last_ns = attempt.ended.at_ns if attempt.ended else attempt.sent.sent_ns
            spans.setdefault(attempt.launch, []).extend((attempt.sent.scheduled_ns, last_ns))
    return sum(max(span) - min(span) for span in spans.values()) * 1e-9


def first_turn(prompt: Prompt) -> Prompt:
    """Return a prompt without its later turns."""
    return msgspec.structs.replace(prompt, turns=prompt.turns[:1])
