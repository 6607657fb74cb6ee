"""The whole flow, as a handful of calls.  Read this file first.

    data -> prompts -> conversations -> load client -> journal        `measure`
                                             journal -> summary       `analysis.analyse_run`

Everything behind the journal can be run again, offline: `report` does just that, and `analysis` is
its home.  A study (here: quickstart) is many runs, measured in turns and analysed together.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from speedbench import analysis, datasets, launch, load, store
from speedbench.config import RunConfig, ServerConfig
from speedbench.endpoints import Endpoint, endpoint, reject_impossible
from speedbench.engines import CountsSpeculation, engine
from speedbench.errors import CallError, EngineError
from speedbench.records import Answer, Failed, Prompt, Summary
from speedbench.tokenization import ChatTokenizer


@dataclass
class OpenRun:
    """A run being measured: its directory, and what an interrupted run has left in it."""

    config: RunConfig
    directory: store.RunDirectory
    recording: load.Recording
    torn_bytes: dict[Path, int]
    answers: dict[str, Answer]


class Observer(load.Observer, Protocol):
    """An observer that is also told how a run begins."""

    def starting(self, waited_s: float, line: str) -> None:
        """Note how long an engine has been starting, and the last line of its log."""
        ...

    def checked(self, findings: Sequence[launch.Finding]) -> None:
        """Note what was found out about the server."""
        ...

    def kept(self, n_finished: int, n_torn_bytes: int) -> None:
        """Note how many requests are finished already, and how much of a journal was damaged."""
        ...


# --- one run -----------------------------------------------------------------------------------


def run(config: RunConfig, output: Path, *, resume: bool, observer: Observer) -> Summary:
    """Measure one engine on one data set at one load, and write the run directory."""
    reject_impossible(config)
    data = datasets.load(config.data.source)
    prompts = chosen_prompts(config, data)
    asyncio.run(_measure_run(config, data, prompts, output, resume, observer))
    return analysis.analyse_run(output)


async def _measure_run(
    config: RunConfig,
    data: datasets.Dataset,
    prompts: list[Prompt],
    output: Path,
    resume: bool,
    observer: Observer,
) -> None:
    with opened_run(config, output, resume=resume) as open_run:
        if open_run.recording.attempts:
            torn = sum(open_run.torn_bytes.values())
            observer.kept(len(open_run.answers), torn)
        async with endpoint(config, output, observer.starting) as where:
            found = await checked_server(config, where, prompts)
            observer.checked(found)
            begin_run(open_run, data, prompts, where, found)
            async with staffed(open_run, where) as workers:
                await warm_up(open_run, where, workers, prompts)
                await measure(open_run, where, workers, prompts, observer)


def chosen_prompts(config: RunConfig, data: datasets.Dataset) -> list[Prompt]:
    """Return the prompts of a run in the order they are sent, which the seed decides."""
    return datasets.select(
        data.prompts,
        categories=config.data.categories,
        num_prompts=config.data.num_prompts,
        max_turns=config.data.max_turns,
        rng=np.random.default_rng(config.seed),
    )


@contextmanager
def opened_run(config: RunConfig, output: Path, *, resume: bool) -> Iterator[OpenRun]:
    """Hold a run directory, with what an interrupted run has left in its journals."""
    directory = store.RunDirectory(output, config.model_dump(mode="json"), resume=resume)
    try:
        paths = directory.journals
        torn = dict(zip(paths, load.cut_torn_tails(paths), strict=True))
        recording = load.read_journals(paths)
        answers = load.answers(recording, engine(config.engine.engine).decode)
        yield OpenRun(config, directory, recording, torn, answers)
    finally:
        directory.release()


@asynccontextmanager
async def staffed(open_run: OpenRun, where: Endpoint) -> AsyncIterator[list[load.Worker]]:
    """Start the workers of a run, each with its journal."""
    config, directory = open_run.config.load, open_run.directory
    setups = []
    for worker in range(load.workers_for(config)):
        journal = directory.journal(worker)
        torn = open_run.torn_bytes.get(journal, 0)
        setups.append(
            load.setup_of(config, where.target, open_run.recording, journal, worker, torn)
        )
    async with load.started_workers(setups) as workers:
        yield workers


async def checked_server(
    config: RunConfig, where: Endpoint, prompts: Sequence[Prompt]
) -> list[launch.Finding]:
    """Return what a few requests tell about a server, before anything is measured.

    The embedded engine is not asked: it is started by us and says of every step what it did.

    Raises
    ------
    EngineError
        When the server is not what it is said to be, with every reason.
    """
    if not isinstance(config.engine, ServerConfig) or config.preflight == "off":
        return []
    sampling = config.sampling_record
    said = launch.Said(
        method=config.engine.method,
        draft_length=config.engine.draft_length,
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
    )
    first = [load.first_turn(prompt) for prompt in prompts[: launch.N_PROMPTS]]
    talks = load.conversations(first, sampling, where.tokenizer, chat=config.chat)
    found = await launch.preflight(
        where.server, said, [talk.request(0, None, None) for talk in talks]
    )
    reasons = [f"{one.check}: {one.sentence}" for one in found if one.verdict == launch.FAIL]
    if reasons and config.preflight == "stop":
        raise EngineError(
            f"the server is not what is to be measured - {'; '.join(reasons)}. Mend it, or measure "
            "it as it is with --preflight warn"
        )
    return found


def begin_run(
    open_run: OpenRun,
    data: datasets.Dataset,
    prompts: Sequence[Prompt],
    where: Endpoint,
    found: Sequence[launch.Finding] = (),
) -> None:
    """Refuse what cannot be measured, then write down what is about to be."""
    config = open_run.config
    if where.tokenizer is not None and where.max_context is not None:
        load.reject_too_long(
            prompts,
            where.tokenizer,
            config.sampling.max_tokens,
            where.max_context,
            config.chat.system,
        )
    tokenizer = where.tokenizer.fingerprint if where.tokenizer else None
    dataset = {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "n_prompts": len(prompts),
        "n_requests": n_requests(config, prompts),
    }
    open_run.directory.write_manifest(
        store.Manifest(
            config=config.model_dump(mode="json"),
            dataset=dataset,
            engine={**where.facts, "tokenizer_fingerprint": tokenizer},
            environment={
                **store.environment(),
                "accelerators": launch.accelerators(),
                "container": launch.container(),
            },
            started_at=store.now(),
            preflight=[msgspec.structs.asdict(one) for one in found],
        )
    )
    open_run.directory.write_prompts(prompts)


def n_requests(config: RunConfig, prompts: Sequence[Prompt]) -> int | None:
    """Return how many requests a run sends; None where its duration or arrivals decide."""
    if config.load.duration is not None or config.load.arrival_times is not None:
        return None
    return sum(len(prompt.turns) for prompt in prompts)


async def warm_up(
    open_run: OpenRun,
    where: Endpoint,
    workers: Sequence[load.Worker],
    prompts: Sequence[Prompt],
) -> None:
    """Send requests that are never counted: first requests pay for what later ones find done.

    Raises
    ------
    EngineError
        When one fails: then nothing that follows would be worth measuring.
    """
    n = open_run.config.load.warm_up
    first = [load.first_turn(prompt) for prompt in itertools.islice(itertools.cycle(prompts), n)]
    config = open_run.config
    talks = load.conversations(first, config.sampling_record, where.tokenizer, chat=config.chat)
    limit = config.load.limit
    shape = load.Shape(concurrency=n if limit is None else min(n, limit), phase="warm_up")
    failures = _Failures()
    if first:
        await load.drive(
            talks, workers, where.wire, shape, observer=failures, done={}, read_answers=True
        )
    if failures.first is not None:
        raise EngineError(
            f"the engine failed the first request, before anything was measured "
            f"({failures.first.kind}): {failures.first.detail}"
        )


class _Failures:
    """An observer that remembers the first failure."""

    first: Failed | None = None

    def ended(self, request_id: str, failed: Failed | None) -> None:
        self.first = self.first or failed

    def received(self, n_reads: int) -> None:
        pass


async def measure(
    open_run: OpenRun,
    where: Endpoint,
    workers: Sequence[load.Worker],
    prompts: Sequence[Prompt],
    observer: load.Observer,
    *,
    block: int = 0,
) -> None:
    """Send the conversations of `prompts` in the run's shape, everything into the journals."""
    config = open_run.config
    shape = load.shape_of(
        config.load,
        len(prompts),
        config.seed,
        block=block,
        spent_s=load.spent_s(open_run.recording),
    )
    told = None
    if config.load.history is not None:
        told = read_history(config.load.history, prompts, where.tokenizer)
    endless = config.load.duration is not None or config.load.arrival_times is not None
    async with _counted(open_run, where):
        await load.drive(
            load.conversations(
                prompts,
                config.sampling_record,
                where.tokenizer,
                histories=told,
                endless=endless,
                chat=config.chat,
            ),
            workers,
            where.wire,
            shape,
            observer=observer,
            done=open_run.answers,
            max_failures=config.load.failures_allowed(n_requests(config, prompts)),
        )


@asynccontextmanager
async def _counted(open_run: OpenRun, where: Endpoint) -> AsyncIterator[None]:
    """Keep what the server's counters say before and after, as it says it."""
    adapter = where.adapter
    if not isinstance(adapter, CountsSpeculation):
        yield
        return

    async def keep(when: str) -> None:
        page = await launch.page(where.session, where.target, adapter.counts_path)
        if page is not None:
            open_run.directory.write_counters(when, page)

    await keep("before")
    try:
        yield
    finally:
        await keep("after")


def read_history(
    path: Path, prompts: Sequence[Prompt], tokenizer: ChatTokenizer | None
) -> dict[str, list[Answer]]:
    """Return the answers of another run, to be told in place of the engine's own.

    Raises
    ------
    CallError
        When that run lacks one, or was recorded with another tokenizer.
    """
    manifest = store.read_manifest(path)
    recorded = manifest.engine["tokenizer_fingerprint"]
    if tokenizer is not None and recorded != tokenizer.fingerprint:
        raise CallError(f"--history {path} was recorded with another tokenizer than this engine's")
    adapter = engine(manifest.config["engine"]["engine"])
    answers = load.answers(load.read_journals(store.journals(path)), adapter.decode)
    return load.histories(prompts, answers, path, ids=tokenizer is not None)
