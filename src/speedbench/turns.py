"""Many runs measured in turns, so that whatever the machine does, it does to all of them.

All engines are up at the same time.  A block of prompts, the same share of every category, goes
through every run of one load before the next block begins, in an order that rotates from block to
block.  Times drift with the machine, so the block is the unit that intervals of times resample.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from speedbench import datasets, load, pipeline
from speedbench.config import RunConfig
from speedbench.endpoints import Endpoint, endpoint


class Observer(pipeline.Observer, Protocol):
    """An observer that is also told what is being measured."""

    def describe(self, label: str) -> None:
        """Name what is being measured now."""
        ...


@dataclass
class Slot:
    """One run, with the engine it talks to."""

    open_run: pipeline.OpenRun
    where: Endpoint
    workers: Sequence[load.Worker]

    @property
    def concurrency(self) -> int:
        """The load of the run, whose loop is closed."""
        return self.open_run.config.load.limit or 1


@asynccontextmanager
async def opened(
    configs: Sequence[RunConfig], runs: Path, data: datasets.Dataset, *, resume: bool
) -> AsyncIterator[list[Slot]]:
    """Open a run for each configuration; runs that differ only in their load share one engine.

    Parameters
    ----------
    configs
        What to measure.
    runs
        The directory that holds a directory for each run.
    data
        The data set that all of them draw on.
    resume
        Whether a run that is already there is continued.
    """
    async with AsyncExitStack() as stack:
        directories = stack.enter_context(ExitStack())
        endpoints: dict[tuple[str, int], Endpoint] = {}
        slots = []
        for config in configs:
            path = runs / config.cell.name
            open_run = directories.enter_context(
                pipeline.opened_run(config, path, resume=resume or not path.exists())
            )
            prompts = pipeline.chosen_prompts(config, data)
            key = (config.engine.model_dump_json(), config.repeat)
            if key not in endpoints:
                endpoints[key] = await stack.enter_async_context(endpoint(config, path))
            where = endpoints[key]
            pipeline.begin_run(open_run, data, prompts, where)
            workers = await stack.enter_async_context(pipeline.staffed(open_run, where))
            await pipeline.warm_up(open_run, where, workers, prompts)
            slots.append(Slot(open_run, where, workers))
        yield slots


async def measure(
    slots: Sequence[Slot], data: datasets.Dataset, n_blocks: int, observer: Observer
) -> None:
    """Send each block of prompts through every run."""
    prompts = pipeline.chosen_prompts(slots[0].open_run.config, data)
    loads = sorted({slot.concurrency for slot in slots})
    for number, block in enumerate(datasets.blocks(prompts, n_blocks)):
        for concurrency in loads:
            at_load = [slot for slot in slots if slot.concurrency == concurrency]
            turn = number % len(at_load)
            for slot in at_load[turn:] + at_load[:turn]:
                observer.describe(slot.open_run.config.cell.name)
                await pipeline.measure(
                    slot.open_run, slot.where, slot.workers, block, observer, block=number
                )
