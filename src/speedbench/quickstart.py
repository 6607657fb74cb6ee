"""A small study on the embedded engine: no speculation, prompt lookup, draft model, two loads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from speedbench import analysis, datasets, gate, load, pipeline, stats, store, summary, turns
from speedbench.config import RunConfig, validated
from speedbench.errors import CallError
from speedbench.records import Summary

DATA = "mini"
STUDY_SCHEMA_VERSION = 1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the quickstart measures."""

    draft_length: int = 3
    concurrencies: tuple[int, ...] = (1, 4)
    repeats: int = 1
    blocks: int = 10
    max_tokens: int = 64
    frequency_penalty: float = 0.2
    num_prompts: int | None = None
    max_turns: int | None = 1
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
        engine = {"method": method, "draft_length": draft_length, "pair": pair}
        return validated(
            {
                "engine": {"engine": "embedded", **engine},
                "data": {
                    "num_prompts": self.side_prompts if side else self.num_prompts,
                    "max_turns": self.max_turns,
                },
                "load": {"concurrency": concurrency},
                "sampling": {
                    "max_tokens": self.max_tokens,
                    "frequency_penalty": self.frequency_penalty,
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


def run(plan: Plan, output: Path, *, resume: bool, observer: turns.Observer) -> Summary:
    """Measure the plan and write the study directory."""
    asyncio.run(_measure(plan, output, resume, observer))
    observer.describe("computing the estimates")
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


async def _measure(plan: Plan, output: Path, resume: bool, observer: turns.Observer) -> None:
    data = datasets.load(DATA)
    _write_study(plan, output, resume)
    stages = [list(plan.configs(repeat)) for repeat in range(plan.repeats)]
    for stage in [*stages, list(plan.side_configs())]:
        async with turns.opened(stage, output / "runs", data, resume=resume) as slots:
            await turns.measure(slots, data, plan.blocks, observer)


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
    clients: list[tuple[str, load.SelfCheck]] = []

    def studied(name: str) -> summary.StudyRun:
        directory = path / "runs" / name
        manifest, columns = analysis.read_trace(directory)
        analysis.write_tables(directory, columns)
        checked = analysis.checked_client(directory, columns)
        clients.append((name, checked))
        manifests.append(manifest)
        return summary.StudyRun(validated(manifest.config).cell, columns)

    runs = [studied(name) for name in study.runs]
    side_runs = [studied(name) for name in study.side_runs]
    notes = [*analysis.cautions(manifests[0]), *_notes(study.plan)]
    for studied_run in runs:
        notes += [f"{studied_run.cell.name}: {note}" for note in summary.resumed(studied_run.trace)]
    notes += [f"{name}: {said}" for name, checked in clients for said in checked.warnings]
    result = summary.of_study(
        runs, side_runs, manifests[0].dataset, manifests[0].engine, notes, decide
    )
    store.write_summary(path / "summary.json", result)
    return result


MARGIN = 0.0
"""Gain that speculation must clear, beyond break-even, before a decision turns it on."""


def decide(
    what: str, found: Sequence[tuple[summary.Method, stats.Interval]], n_comparisons: int
) -> dict[str, Any]:
    """Return on, off or cannot tell for one slice at one load, as it stands in ``summary.json``."""
    candidates = [gate.Candidate(*method, interval) for method, interval in found]
    decision = gate.decide(candidates, margin=MARGIN, n_comparisons=n_comparisons, what=what)
    chosen = decision.candidate
    return {
        "verdict": decision.verdict,
        "method": chosen.method if chosen else None,
        "draft_length": chosen.draft_length if chosen else None,
        "why": decision.why,
        "confidence": decision.confidence,
    }


def _notes(plan: Plan) -> list[str]:
    return [
        f"Greedy decoding with frequency penalty {plan.frequency_penalty}, answers of at most "
        f"{plan.max_tokens} tokens, first turns only: a model this small would fall into loops "
        "otherwise, which inflate acceptance, and loses the subject in a second turn.",
        "The target was made as slow beside its drafter as a real one, by layers that cost time "
        "and change no output; c_draft and c_verify are measured, and the unexpanded pair's own "
        "result is given beside.",
    ]
