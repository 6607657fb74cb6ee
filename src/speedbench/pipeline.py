"""The whole flow, as a handful of calls.  Read this file first.

    data -> prompts -> conversations -> load client -> journal        `measure`
                                             journal -> trace         `read_trace`
                                               trace -> summary       `analyse_run`

Everything behind the journal can be run again, offline: `report` does just that.  A study (here:
quickstart) is many runs, measured in turns and analysed together.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from speedbench import datasets, launch, load, store, summary, trace
from speedbench.config import EmbeddedConfig, OpenAIConfig, RunConfig, validated
from speedbench.engines import Engine, engine
from speedbench.engines.embedded.models import demo_pair_path, pair_facts
from speedbench.errors import EngineError
from speedbench.records import Prompt, Summary
from speedbench.tokenization import ChatTokenizer


@dataclass(frozen=True)
class Endpoint:
    """An engine that is up: how to talk to it, and what it is."""

    target: load.Target
    tokenizer: ChatTokenizer | None
    max_context: int | None
    facts: dict[str, Any]


@dataclass
class OpenRun:
    """A run being measured: its directory, its journal, and what is already in it."""

    config: RunConfig
    directory: store.RunDirectory
    journal: load.JournalWriter
    finished: dict[str, load.Exchange]


# --- one run -----------------------------------------------------------------------------------


def run(config: RunConfig, output: Path, *, resume: bool, observer: load.Observer) -> Summary:
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
    observer: load.Observer,
) -> None:
    with opened_run(config, output, resume=resume) as open_run:
        async with endpoint(config, open_run.directory.engine_log) as where:
            begin_run(open_run, data, prompts, where)
            await warm_up(open_run, where, prompts[0])
            await measure(open_run, where, prompts, observer)


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
    """Hold a run directory and its journal, continued where an interrupted run left it."""
    directory = store.RunDirectory(output, config.model_dump(mode="json"), resume=resume)
    try:
        recording = load.read_journal(directory.journal)
        load.cut_torn_tail(directory.journal, recording)
        journal = load.JournalWriter(directory.journal, first_key=recording.next_key)
        try:
            journal.append(load.Opened(time.monotonic_ns(), store.now(), recording.n_torn_bytes))
            yield OpenRun(config, directory, journal, recording.finished())
        finally:
            journal.close()
    finally:
        directory.release()


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
    url = config.base_url.rstrip("/").removesuffix("/v1") + "/"
    key = os.environ.get("SPEEDBENCH_API_KEY")
    session = await stack.enter_async_context(load.open_session(url, key))
    identity = await launch.identify(session, url, config.model)
    facts = {"engine": adapter.name, "base_url": url, "model": identity.model}
    target = load.Target(session, adapter, identity.model)
    return Endpoint(target, None, identity.max_context, facts)


async def _start_embedded(
    stack: AsyncExitStack, adapter: Engine, config: EmbeddedConfig, log: Path
) -> Endpoint:
    _require_openvino()
    draft = [] if config.draft_length is None else ["--draft-length", str(config.draft_length)]
    command = [sys.executable, "-m", "speedbench.engines.embedded.server"]
    command += ["--method", config.method, *draft]
    command += ["--threads", str(config.threads), "--pair", config.pair]
    server = stack.enter_context(launch.launched(command, log))
    session = await stack.enter_async_context(load.open_session(server.base_url))
    identity = await launch.identify(session, server.base_url, None)
    facts = {"model": identity.model, **await launch.health(session, server.base_url)}
    facts |= pair_facts(config.pair)
    tokenizer = ChatTokenizer.from_directory(demo_pair_path() / "target")
    target = load.Target(session, adapter, identity.model)
    return Endpoint(target, tokenizer, identity.max_context, facts)


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
        "n_requests": sum(len(prompt.turns) for prompt in prompts),
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


async def warm_up(open_run: OpenRun, where: Endpoint, prompt: Prompt) -> None:
    """Send one request that is never counted: first requests pay for what later ones find done."""
    first = msgspec.structs.replace(prompt, turns=prompt.turns[:1])
    conversation = load.Conversation(first, open_run.config.sampling_record, where.tokenizer)
    await load.warm_up(conversation, where.target)


async def measure(
    open_run: OpenRun,
    where: Endpoint,
    prompts: Sequence[Prompt],
    observer: load.Observer,
    *,
    block: int = 0,
) -> None:
    """Send the conversations of `prompts` at the run's concurrency, everything into the journal."""
    config = open_run.config
    conversations = [
        load.Conversation(prompt, config.sampling_record, where.tokenizer) for prompt in prompts
    ]
    await load.drive(
        conversations,
        where.target,
        concurrency=config.load.concurrency,
        journal=open_run.journal,
        observer=observer,
        done=open_run.finished,
        block=block,
    )


# --- from the journal on: offline ----------------------------------------------------------------


def read_trace(path: Path) -> tuple[store.Manifest, trace.Trace]:
    """Read a run directory's journal into columns."""
    manifest = store.read_manifest(path)
    adapter = engine(manifest.config["engine"]["engine"])
    recording = load.read_journal(path / "journal" / "worker-0.journal")
    attempts = [
        trace.Attempt(
            request=exchange.sent.request,
            launch=exchange.launch,
            block=exchange.sent.block,
            scheduled_ns=exchange.sent.scheduled_ns,
            sent_ns=exchange.sent.sent_ns,
            ended_ns=exchange.ended.at_ns,
            events=exchange.events,
            failed=exchange.ended.failed,
        )
        for exchange in recording.ended().values()
        if exchange.ended is not None
    ]
    return manifest, trace.build(attempts, store.read_prompts(path), adapter.decode)


def analyse_run(path: Path) -> Summary:
    """Compute everything a single run can say, from its journal, and write it beside it."""
    manifest, columns = read_trace(path)
    write_tables(path, columns)
    cell = cell_of(manifest)
    result = summary.of_run(columns, cell, manifest.dataset, manifest.engine, cautions(manifest))
    store.write_summary(path / "summary.json", result)
    return result


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
