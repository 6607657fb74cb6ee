"""A summary arranged for reading: loads, slices and ways to speculate in a fixed order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speedbench.records import Estimate, Summary
from speedbench.report.words import arm_name, estimate_text, streams, visible

ALL = "all prompts"
BASELINE = "none"

SliceKey = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Arm:
    """One way to speculate."""

    method: str
    draft_length: int | None

    @property
    def name(self) -> str:
        """Method and draft length."""
        return arm_name(self.method, self.draft_length)


@dataclass(frozen=True)
class ArmFigures:
    """What one way to speculate did for one slice at one load."""

    arm: Arm
    al: Estimate
    speedup: Estimate
    proxy: Estimate
    distinct: Estimate
    identical: Estimate
    rates: tuple[Estimate, ...]


@dataclass(frozen=True)
class Line:
    """One slice at one load: every way to speculate, and the decision."""

    name: str
    arms: tuple[ArmFigures, ...]
    verdict: str
    why: str
    chosen: Arm | None

    @property
    def best(self) -> ArmFigures:
        """What was turned on, else what had the highest measured speedup."""
        for figures in self.arms:
            if figures.arm == self.chosen:
                return figures
        return max(self.arms, key=lambda figures: _or_least(figures.speedup))

    @property
    def next_best(self) -> ArmFigures | None:
        """What had the highest measured speedup of the others."""
        others = [figures for figures in self.arms if figures is not self.best]
        return max(others, key=lambda figures: _or_least(figures.speedup), default=None)


@dataclass(frozen=True)
class Load:
    """All slices at one concurrency; `overall` is the whole of them."""

    concurrency: int
    lines: tuple[Line, ...]
    overall: Line

    @property
    def all_lines(self) -> tuple[Line, ...]:
        """The slices, then the whole."""
        return (*self.lines, self.overall)


@dataclass(frozen=True)
class Named:
    """An estimate with the words that introduce it."""

    label: str
    estimate: Estimate


@dataclass(frozen=True)
class StudyView:
    """A study, ready to be shown; `arms` in the order of the summary."""

    arms: tuple[Arm, ...]
    loads: tuple[Load, ...]
    costs: tuple[Named, ...]
    unexpanded: tuple[Named, ...]
    confidence: float
    decision_confidence: float


@dataclass(frozen=True)
class RunLine:
    """One slice of a run, its estimates by name."""

    name: str
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class RunGroup:
    """The slices of a run along one property, such as category."""

    by: str
    lines: tuple[RunLine, ...]


class _Figures:
    """The estimates of a study by cell, slice and name."""

    def __init__(self, summary: Summary) -> None:
        self.of_cell: dict[tuple[Any, ...], dict[SliceKey, dict[str, Estimate]]] = {}
        for row in summary.estimates:
            cell = row.cell
            key = (cell.get("method"), cell.get("draft_length"), cell.get("concurrency"))
            slices = self.of_cell.setdefault((*key, cell.get("pair", "")), {})
            slices.setdefault(_key(row.slice), {})[row.estimate.estimand] = row.estimate

    def at(
        self, arm: Arm, concurrency: int, where: SliceKey, pair: str = ""
    ) -> dict[str, Estimate]:
        cell = (arm.method, arm.draft_length, concurrency, pair)
        return self.of_cell.get(cell, {}).get(where, {})


def study_view(summary: Summary) -> StudyView:
    """Arrange a study, its slices by descending acceptance length at the first load."""
    figures = _Figures(summary)
    cells = [cell for cell in figures.of_cell if cell[3] == "" and cell[0] != BASELINE]
    arms = tuple(dict.fromkeys(Arm(cell[0], cell[1]) for cell in cells))
    concurrencies = sorted({cell[2] for cell in cells})
    decided = {(d["concurrency"], _key(d["slice"])): d for d in summary.decisions}
    slices = list(dict.fromkeys(key for cell in cells for key in figures.of_cell[cell] if key))
    ranked = sorted(slices, key=lambda where: -_longest(figures, arms, concurrencies, where))

    def line(concurrency: int, where: SliceKey) -> Line:
        found = tuple(_arm_figures(arm, figures.at(arm, concurrency, where)) for arm in arms)
        return _line(where, found, decided.get((concurrency, where), {}))

    loads = [Load(c, tuple(line(c, where) for where in ranked), line(c, ())) for c in concurrencies]
    levels = [d["confidence"] for d in summary.decisions]
    intervals = [row.estimate.confidence for row in summary.estimates]
    return StudyView(
        arms=arms,
        loads=tuple(loads),
        costs=tuple(_costs(figures, arms, concurrencies)),
        unexpanded=tuple(_of_pair(figures, "unexpanded")),
        confidence=min(intervals, default=math.nan),
        decision_confidence=max(levels, default=math.nan),
    )


def _line(where: SliceKey, found: tuple[ArmFigures, ...], decision: Mapping[str, Any]) -> Line:
    on = decision.get("verdict") == "on"
    return Line(
        name=_slice_name(where),
        arms=found,
        verdict=decision.get("verdict", ""),
        why=_tamed(decision.get("why", "")),
        chosen=Arm(decision["method"], decision["draft_length"]) if on else None,
    )


def _arm_figures(arm: Arm, found: Mapping[str, Estimate]) -> ArmFigures:
    def named(name: str, unit: str) -> Estimate:
        return found.get(name) or Estimate.undefined(name, unit, "not in the summary")

    return ArmFigures(
        arm=arm,
        al=named("al_per_step", "tokens/step"),
        speedup=named("speedup_measured", "ratio"),
        proxy=named("speedup_proxy", "ratio"),
        distinct=named("distinct_3gram_share", "share"),
        identical=named("identical_share", "share"),
        rates=rates_of(found),
    )


def rates_of(found: Mapping[str, Estimate]) -> tuple[Estimate, ...]:
    """Return the conditional acceptance rates, position 1 first.

    >>> rates_of({})
    ()
    """
    names = sorted((name for name in found if re.fullmatch(r"ar_\d+", name)), key=_position)
    return tuple(found[name] for name in names)


def _position(name: str) -> int:
    return int(name.removeprefix("ar_"))


def _costs(figures: _Figures, arms: Sequence[Arm], loads: Sequence[int]) -> Iterator[Named]:
    for arm in arms:
        for concurrency in loads:
            found = figures.at(arm, concurrency, ())
            for name in ("c_draft", "c_verify"):
                if name in found:
                    yield Named(name, found[name])


def _of_pair(figures: _Figures, pair: str) -> Iterator[Named]:
    for (method, draft_length, _, its_pair), slices in figures.of_cell.items():
        found = slices.get((), {}).get("speedup_measured")
        if its_pair == pair and found is not None:
            yield Named(arm_name(method, draft_length), found)


def _longest(
    figures: _Figures, arms: Sequence[Arm], concurrencies: Sequence[int], where: SliceKey
) -> float:
    found = [figures.at(arm, concurrencies[0], where).get("al_per_step") for arm in arms]
    return max((_or_least(al) for al in found if al is not None), default=-math.inf)


def run_view(summary: Summary) -> tuple[RunLine, tuple[RunGroup, ...]]:
    """Arrange a run: the whole of it, then its slices along each property, names ascending."""
    slices: dict[SliceKey, dict[str, Estimate]] = {(): {}}
    for row in summary.estimates:
        slices.setdefault(_key(row.slice), {})[row.estimate.estimand] = row.estimate
    groups: dict[str, list[RunLine]] = {}
    for where, found in slices.items():
        if where:
            by = visible(", ".join(name for name, _ in where))
            groups.setdefault(by, []).append(RunLine(_slice_name(where), found))
    whole = RunLine(ALL, slices[()])
    return whole, tuple(RunGroup(by, tuple(lines)) for by, lines in groups.items())


def n_prompts(line: RunLine) -> int:
    """Return how many prompts of a slice were answered."""
    found = line.estimates.get("ttft_s_p50")
    return found.n if found else 0


def is_toy(summary: Summary) -> bool:
    """Return whether the demo pair was measured."""
    engine = summary.facts.get("engine", {})
    return isinstance(engine, Mapping) and "pair" in engine


def _key(where: Mapping[str, str]) -> SliceKey:
    return tuple(sorted(where.items()))


def _slice_name(where: SliceKey) -> str:
    return visible(", ".join(str(value) for _, value in where)) if where else ALL


def _or_least(found: Estimate) -> float:
    return -math.inf if math.isnan(found.value) else found.value


def _tamed(why: str) -> str:
    """Return a reason with bounds that mean "no idea" in a readable length."""
    return visible(re.sub(r"\d{5,}\.\d+", ">9999", why), limit=400)


def measured(shown: StudyView) -> list[str]:
    """Return what drafting costs, the unexpanded pair's result, and losslessness, as sentences."""
    said = []
    if shown.costs:
        costs = ", ".join(f"{cost.label} {estimate_text(cost.estimate)}" for cost in shown.costs)
        said.append(f"Measured cost in target steps: {costs}.")
    notes = [f.speedup.note for load in shown.loads for f in load.overall.arms if f.speedup.note]
    for note in dict.fromkeys(notes):
        said.append(f"Speedup: {visible(note.replace('n counts', 'intervals resample'), 200)}.")
    if shown.unexpanded:
        found = ", ".join(f"{one.label} {estimate_text(one.estimate)}" for one in shown.unexpanded)
        said.append(f"Speedup on the unexpanded pair, 1 stream: {found}.")
    shares = [
        (f"{figures.arm.name} at {streams(load.concurrency)}", figures.identical)
        for load in shown.loads
        for figures in load.overall.arms
        if figures.identical.n
    ]
    if shares and all(share.value == 1 for _, share in shares):
        said.append("Every output is identical to the one without speculation.")
    elif shares:
        named = ", ".join(f"{name} {share.value:.3f}" for name, share in shares)
        said.append(f"Share of outputs identical to those without speculation: {named}.")
    return said
