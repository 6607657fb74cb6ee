"""A load through real worker processes, without the command line around it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import Silent
from tests.server import MODEL

from speedbench import load
from speedbench.config import LoadConfig
from speedbench.engines import engine
from speedbench.records import Prompt, Request, Sampling

SAMPLING = Sampling(max_tokens=8)


def prompt(name: str, *turns: str) -> Prompt:
    return Prompt(id=name, category="qa", turns=turns or (name,))


def talks(prompts: Iterable[Prompt]) -> list[load.Conversation]:
    return [load.Conversation(p, SAMPLING, None) for p in prompts]


@dataclass
class Crew:
    """Drives loads into the journals under `directory`, a launch for each call."""

    directory: Path
    observer: Silent = field(default_factory=Silent)

    @property
    def journals(self) -> list[Path]:
        return sorted(self.directory.glob("worker-*.journal"))

    @property
    def recording(self) -> load.Recording:
        return load.read_journals(self.journals)

    def drive(
        self,
        base_url: str,
        conversations: Iterable[load.Conversation],
        shape: load.Shape = load.Shape(),  # noqa: B008
        *,
        warm_up: Iterable[load.Conversation] = (),
        n_workers: int = 1,
        headers: Mapping[str, str] | None = None,
        ca_file: Path | None = None,
        max_failures: int | None = None,
        read_answers: bool = False,
        **options: Any,
    ) -> load.Recording:
        """Send `conversations` in each of `shapes` and return what the journals hold then."""
        torn = load.cut_torn_tails(self.journals)
        before = self.recording
        done = load.answers(before, engine("openai").decode)
        config = LoadConfig(**options)
        target = load.Target(base_url, headers or {}, ca_file)
        setups = []
        for number in range(n_workers):
            path = self.directory / f"worker-{number}.journal"
            n_torn = torn[number] if number < len(torn) else 0
            setups.append(load.setup_of(config, target, before, path, number, n_torn))
        wire = _wire(target)

        async def go() -> None:
            async with load.started_workers(setups) as workers:
                if warm_up:
                    first = load.Shape(concurrency=1, phase="warm_up")
                    await load.drive(warm_up, workers, wire, first, observer=Silent(), done={})
                await load.drive(
                    conversations,
                    workers,
                    wire,
                    shape,
                    observer=self.observer,
                    done=done,
                    max_failures=max_failures,
                    read_answers=read_answers,
                )

        asyncio.run(go())
        return self.recording


def _wire(target: load.Target) -> load.Wire:
    adapter = engine("openai")

    def payload(request: Request) -> bytes:
        return target.payload(adapter.build_request(request, model=MODEL))

    return load.Wire(payload, adapter.decode)
