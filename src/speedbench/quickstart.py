"""A small study on the embedded engine: no speculation, prompt lookup, draft model, two loads.

All engines of a repeat are up at the same time and measured in turns, block by block: a block of
prompts goes through every method at one load before the next block begins, in a rotating order.
Whatever the machine does meanwhile, it does to all of them.  A repeat is a fresh launch of every
engine, the unit in which times vary.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from speedbench import datasets, load, pipeline, store, summary
from speedbench.config import RunConfig, validated
from speedbench.errors import CallError
from speedbench.records import Prompt, Summary

DATA = "mini"
STUDY_SCHEMA_VERSION = 1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the quickstart measures."""

    draft_length: int = 3
    concurrencies: tuple[int, ...] = (1, 8)
    repeats: int = 1
    blocks: int = 4
    max_tokens: int = 48
    repetition_penalty: float = 1.2
    num_prompts: int | None = None
    side_prompts: int = 22
    seed: int = 0

    @property
    def methods(self) -> tuple[tuple[str, int | None], ...]:
        """Baseline first."""
        return (("none", None), ("ngram", self.draft_length), ("draft_model", self.draft_length))

    def configs(self, repeat: int) -> Iterator[RunConfig]:
        """Yield the configuration of every run of one repeat."""
        for method, draft_length in self.methods:
            for concurrency in self.concurrencies:
                yield self.config("expanded", method, draft_length, concurrency, repeat)

    def side_configs(self) -> Iterator[RunConfig]:
        """Yield the runs that measure cost: the drafter alone, and the pair without expansion."""
        yield self.config("drafter", "none", None, 1, 0)
        for method, draft_length in self.methods:
            if method != "ngram":
                yield self.config("unexpanded", method, draft_length, 1, 0)

    def config(
        self, pair: str, method: str, draft_length: int | None, concurrency: int, repeat: int
    ) -> RunConfig:
        """Return the configuration of one run."""
        side = pair != "expanded"
        return validated(
            {
                "engine": {"method": method, "draft_length": draft_length, "pair": pair}
                | {"engine": "embedded"},
                "data": {"num_prompts": self.side_prompts if side else self.num_prompts},
                "load": {"concurrency": concurrency},
                "sampling": {
                    "max_tokens": self.max_tokens,
                    "repetition_penalty": self.repetition_penalty,
                },
                "seed": self.seed,
                "repeat": repeat,
            }
        )


class StudyFile(msgspec.Struct, frozen=True, kw_only=True):
    """``study.json``: the plan and the runs it consists of, by directory name."""

    plan: Plan
    runs: list[str]
    side_runs: list[str]
    schema_version: int = STUDY_SCHEMA_VERSION
    kind: str = "study"


class StudyObserver(load.Observer, Protocol):
    """An observer that is also told what is being measured."""

    def describe(self, label: str) -> None:
        """Name what is being measured now."""
        ...


@dataclass
class _Slot:
    """One run of a repeat, with the engine it talks to."""

    open_run: pipeline.OpenRun
    where: pipeline.Endpoint


def run(plan: Plan, output: Path, *, resume: bool, observer: StudyObserver) -> Summary:
    """Measure the plan and write the study directory."""
    asyncio.run(_measure(plan, output, resume, observer))
    return analyse(output)


def n_requests(plan: Plan) -> int:
    """Return how many requests the plan sends."""
    data = datasets.load(DATA)
    configs = [c for repeat in range(plan.repeats) for c in plan.configs(repeat)]
    return sum(
        len(prompt.turns)
        for config in [*configs, *plan.side_configs()]
        for prompt in pipeline.chosen_prompts(config, data)
    )


async def _measure(plan: Plan, output: Path, resume: bool, observer: StudyObserver) -> None:
    data = datasets.load(DATA)
    _write_study(plan, output, resume)
    for repeat in range(plan.repeats):
        async with _slots(list(plan.configs(repeat)), output, data, resume) as slots:
            await _in_turns(plan, slots, repeat, observer)
    async with _slots(list(plan.side_configs()), output, data, resume) as slots:
        await _in_turns(plan, slots, 0, observer)


async def _in_turns(
    plan: Plan, slots: Sequence[_Slot], repeat: int, observer: StudyObserver
) -> None:
    """Send each block of prompts through every run, the order rotating from block to block."""
    prompts = pipeline.chosen_prompts(slots[0].open_run.config, datasets.load(DATA))
    for block in range(plan.blocks):
        share = prompts[block :: plan.blocks]
        for concurrency in plan.concurrencies:
            at_load = [s for s in slots if s.open_run.config.load.concurrency == concurrency]
            turn = (block + repeat) % max(len(at_load), 1)
            for slot in at_load[turn:] + at_load[:turn]:
                await _one_block(slot, share, block, observer)


async def _one_block(
    slot: _Slot, prompts: Sequence[Prompt], block: int, observer: StudyObserver
) -> None:
    observer.describe(slot.open_run.config.cell.name)
    await pipeline.measure(slot.open_run, slot.where, prompts, observer, block=block)


@asynccontextmanager
async def _slots(
    configs: Sequence[RunConfig], output: Path, data: datasets.Dataset, resume: bool
) -> AsyncIterator[list[_Slot]]:
    """Open every run of a repeat; runs with the same engine settings share one engine."""
    async with AsyncExitStack() as stack:
        directories = stack.enter_context(ExitStack())
        endpoints: dict[str, pipeline.Endpoint] = {}
        slots = []
        for config in configs:
            path = output / "runs" / config.cell.name
            open_run = directories.enter_context(
                pipeline.opened_run(config, path, resume=resume or not path.exists())
            )
            key = config.engine.model_dump_json()
            if key not in endpoints:
                log = open_run.directory.engine_log
                endpoints[key] = await stack.enter_async_context(pipeline.endpoint(config, log))
                await pipeline.warm_up(open_run, endpoints[key], data.prompts[0])
            prompts = pipeline.chosen_prompts(config, data)
            pipeline.begin_run(open_run, data, prompts, endpoints[key])
            slots.append(_Slot(open_run, endpoints[key]))
        yield slots


def _write_study(plan: Plan, output: Path, resume: bool) -> None:
    """Claim the directory for this plan."""
    path = output / "study.json"
    if path.exists():
        found = read_study(output).plan
        if found != plan:
            raise CallError(f"{output} holds another study: choose another --output")
        if not resume:
            raise CallError(
                f"{output} holds this study already: add --resume to finish it, or choose another "
                "--output"
            )
        return
    if output.exists() and any(output.iterdir()):
        raise CallError(f"{output} is not empty and holds no study: choose another --output")
    runs = [c.cell.name for repeat in range(plan.repeats) for c in plan.configs(repeat)]
    side_runs = [config.cell.name for config in plan.side_configs()]
    store.write_json(path, StudyFile(plan=plan, runs=runs, side_runs=side_runs))


def read_study(path: Path) -> StudyFile:
    """Read ``study.json``."""
    return store.read_json(path / "study.json", StudyFile)


def analyse(path: Path) -> Summary:
    """Compute summary and tables of a study from its journals, and write them beside it."""
    study = read_study(path)
    manifests = []

    def studied(name: str) -> summary.StudyRun:
        directory = path / "runs" / name
        manifest, columns = pipeline.read_trace(directory)
        pipeline.write_tables(directory, columns)
        manifests.append(manifest)
        return summary.StudyRun(validated(manifest.config).cell, columns)

    runs = [studied(name) for name in study.runs]
    side_runs = [studied(name) for name in study.side_runs]
    result = summary.of_study(
        runs, side_runs, manifests[0].dataset, manifests[0].engine, _notes(study.plan)
    )
    store.write_summary(path / "summary.json", result)
    return result


def _notes(plan: Plan) -> list[str]:
    return [
        summary.DEMO_NOTE,
        f"Greedy decoding with repetition penalty {plan.repetition_penalty}, answers of at most "
        f"{plan.max_tokens} tokens: a model this small would fall into loops otherwise, and loops "
        "inflate acceptance.",
        "The target was made as slow beside its drafter as a real one, by layers that cost time "
        "and change no output; c_draft and c_verify are measured, and the unexpanded pair's own "
        "result is given beside.",
    ]
