"""The whole flow, as a handful of calls.  Read this file first.

    data -> prompts -> conversations -> load client -> journal        `measure`
                                             journal -> trace         `read_trace`
                                               trace -> summary       `analyse_run`

Everything behind the journal can be run again, offline: `report` does just that.  A study (here:
quickstart) is many runs, measured in turns and analysed together.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from speedbench import datasets, launch, load, store, summary, trace
from speedbench.config import EmbeddedConfig, OpenAIConfig, RunConfig, validated
from speedbench.engines import Engine, engine
from speedbench.engines.embedded.models import demo_pair_path, pair_facts
from speedbench.errors import CallError, EngineError
from speedbench.records import Answer, Failed, Prompt, Request, Summary
from speedbench.tokenization import ChatTokenizer


@dataclass(frozen=True)
class Endpoint:
    """An engine that is up: where it is, how to talk to it, and what it is."""

    target: load.Target
    adapter: Engine
    model: str
    tokenizer: ChatTokenizer | None
    max_context: int | None
    facts: dict[str, Any]

    @property
    def wire(self) -> load.Wire:
        """How a request becomes bytes, and bytes an answer."""

        def payload(request: Request) -> bytes:
            return self.target.payload(self.adapter.build_request(request, model=self.model))

        return load.Wire(payload, self.adapter.decode)


@dataclass
class OpenRun:
    """A run being measured: its directory, and what an interrupted run has left in it."""

    config: RunConfig
    directory: store.RunDirectory
    recording: load.Recording
    torn_bytes: dict[Path, int]
    answers: dict[str, Answer]


class Observer(load.Observer, Protocol):
    """An observer that is also told what a resumed run begins with."""

    def kept(self, n_finished: int, n_torn_bytes: int) -> None:
        """Note how many requests are finished already, and how much of a journal was damaged."""
        ...


# --- one run -----------------------------------------------------------------------------------


def run(config: RunConfig, output: Path, *, resume: bool, observer: Observer) -> Summary:
    """Measure one engine on one data set at one load, and write the run directory."""
    data = datasets.load(config.data.source)
    prompts = chosen_prompts(config, data)
    asyncio.run(_measure_run(config, data, prompts, output, resume, observer))
    return analyse_run(output)


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
        async with endpoint(config, open_run.directory.engine_log) as where:
            begin_run(open_run, data, prompts, where)
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


@asynccontextmanager
async def endpoint(config: RunConfig, log: Path) -> AsyncIterator[Endpoint]:
    """Connect to the engine of `config`, started first if it is ours to start."""
    adapter = engine(config.engine.engine)
    async with AsyncExitStack() as stack:
        match config.engine:
            case OpenAIConfig() as attached:
                yield await _attach(stack, adapter, attached)
            case EmbeddedConfig() as ours:
                yield await _start_embedded(stack, adapter, ours, log)


async def _attach(stack: AsyncExitStack, adapter: Engine, config: OpenAIConfig) -> Endpoint:
    headers = {name: value.get_secret_value() for name, value in config.headers.items()}
    if key := os.environ.get("SPEEDBENCH_API_KEY"):
        headers.setdefault("Authorization", f"Bearer {key}")
    target = load.Target(config.base_url, headers, config.ca_file)
    session = await stack.enter_async_context(launch.open_session(target))
    identity = await launch.identify(session, target, config.model)
    facts = {"engine": adapter.name, "base_url": target.public_url, "model": identity.model}
    return Endpoint(target, adapter, identity.model, None, identity.max_context, facts)


async def _start_embedded(
    stack: AsyncExitStack, adapter: Engine, config: EmbeddedConfig, log: Path
) -> Endpoint:
    _require_openvino()
    draft = [] if config.draft_length is None else ["--draft-length", str(config.draft_length)]
    command = [sys.executable, "-m", "speedbench.engines.embedded.server"]
    command += ["--method", config.method, *draft]
    command += ["--threads", str(config.threads), "--pair", config.pair]
    server = stack.enter_context(launch.launched(command, log))
    target = load.Target(server.base_url)
    session = await stack.enter_async_context(launch.open_session(target))
    identity = await launch.identify(session, target, None)
    facts = {"model": identity.model, **await launch.health(session, target)}
    facts |= pair_facts(config.pair)
    tokenizer = ChatTokenizer.from_directory(demo_pair_path() / "target")
    return Endpoint(target, adapter, identity.model, tokenizer, identity.max_context, facts)


def _require_openvino() -> None:
    from importlib.util import find_spec

    if find_spec("openvino_genai") is None:
        raise EngineError(
            "the embedded engine needs openvino-genai, which is not installed: "
            "pip install 'speedbench[embedded]'"
        )


def begin_run(
    open_run: OpenRun, data: datasets.Dataset, prompts: Sequence[Prompt], where: Endpoint
) -> None:
    """Refuse what cannot be measured, then write down what is about to be."""
    config = open_run.config
    if where.tokenizer is not None and where.max_context is not None:
        load.reject_too_long(
            prompts, where.tokenizer, config.sampling.max_tokens, where.max_context
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
            environment=store.environment(),
            started_at=store.now(),
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
    talks = load.conversations(first, open_run.config.sampling_record, where.tokenizer)
    limit = open_run.config.load.limit
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
    await load.drive(
        load.conversations(
            prompts, config.sampling_record, where.tokenizer, histories=told, endless=endless
        ),
        workers,
        where.wire,
        shape,
        observer=observer,
        done=open_run.answers,
        max_failures=config.load.failures_allowed(n_requests(config, prompts)),
    )


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


# --- from the journal on: offline ----------------------------------------------------------------


def read_trace(path: Path) -> tuple[store.Manifest, trace.Trace]:
    """Read the journals of a run directory into columns."""
    manifest = store.read_manifest(path)
    adapter = engine(manifest.config["engine"]["engine"])
    recording = load.read_journals(store.journals(path))
    exchanges = recording.exchanges(recording.ended().values())
    attempts = (_attempt(exchange) for exchange in exchanges)
    return manifest, trace.build(attempts, store.read_prompts(path), adapter.decode)


def _attempt(exchange: load.Exchange) -> trace.Attempt:
    sent, ended = exchange.sent, exchange.ended
    assert ended is not None
    return trace.Attempt(
        request=exchange.request,
        launch=exchange.launch,
        block=sent.block,
        number=sent.attempt,
        scheduled_ns=sent.scheduled_ns,
        connect_ns=sent.connect_ns or None,
        sent_ns=sent.sent_ns,
        ended_ns=ended.at_ns,
        events=exchange.events,
        failed=ended.failed,
    )


def analyse_run(path: Path) -> Summary:
    """Compute everything a single run can say, from its journals, and write it beside them."""
    manifest, columns = read_trace(path)
    write_tables(path, columns)
    checked = checked_client(path, columns)
    cell = cell_of(manifest)
    notes = [*cautions(manifest), *checked.warnings]
    result = summary.of_run(columns, cell, manifest.dataset, manifest.engine, notes)
    result = msgspec.structs.replace(result, facts={**result.facts, "client": checked.facts})
    store.write_summary(path / "summary.json", result)
    return result


def checked_client(path: Path, columns: trace.Trace) -> load.SelfCheck:
    """Find out the client's own error in a run, and write it into the manifest."""
    checked = load.self_check(store.journals(path), columns.requests, columns.chunks)
    store.write_client(path, checked.facts)
    return checked


def write_tables(path: Path, columns: trace.Trace) -> None:
    """Write the three tables of a trace into its run directory."""
    store.write_tables(path, requests=columns.requests, chunks=columns.chunks, steps=columns.steps)


def cautions(manifest: store.Manifest) -> list[str]:
    """Return what the engine's adapter wants said beside every figure of a run."""
    return engine(manifest.config["engine"]["engine"]).cautions(manifest.config)


def cell_of(manifest: store.Manifest) -> dict[str, Any]:
    """Return what a run measured, as it stands in every row of a summary."""
    cell = validated(manifest.config).cell
    return {name: value for name, value in msgspec.structs.asdict(cell).items() if value != ""}
