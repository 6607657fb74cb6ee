"""The HTML report: one file that needs nothing else, neither network nor script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedbench.records import Estimate, Summary
from speedbench.report import charts, view, words
from speedbench.store.files import write_bytes

ACCEPTANCE_COLUMNS = {
    "al_per_step": "AL per step",
    "al_per_request": "AL per request",
    "al_given_draft": "AL given a draft",
    "al_at_full_draft_length": "AL at full draft length",
    "acceptance_share": "accepted of drafted",
}
OTHER_COLUMNS = {
    "distinct_3gram_share": "distinct 3-grams",
    "user_tps": "user TPS, tokens/s",
    "tpot_vllm_s": "TPOT (vLLM), ms",
    "ttft_s_p50": "TTFT p50, ms",
    "ttft_s_p99": "TTFT p99, ms",
}
"""Columns of a run's table, as far as the summary has them; rates stand between the two."""


@dataclass(frozen=True)
class Panel:
    """One drawing, with what it shows in words; `svg` is markup."""

    title: str
    svg: str
    alternative: str


@dataclass(frozen=True)
class Facts:
    """A table of names and values."""

    title: str
    rows: tuple[tuple[str, str], ...]


def write_report(summary: Summary, path: Path) -> None:
    """Write `summary` as one self-contained HTML file.

    Parameters
    ----------
    summary
        Of a run or a study.
    path
        The file, replaced in one step.
    """
    write_bytes(path, rendered(summary).encode())


def rendered(summary: Summary) -> str:
    """Return the page of `summary`; everything in it that is data is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("speedbench.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "value": words.value_text,
        "bounds": words.bounds_text,
        "visible": words.visible,
    }
    context = _study(summary) if summary.kind == "study" else _run(summary)
    return environment.get_template(f"{summary.kind}.html.j2").render(
        title=words.visible(summary.title, 120),
        toy=view.is_toy(summary),
        counted=words.counted(summary.counts),
        notes=[words.visible(note, 600) for note in summary.notes],
        provenance=_provenance(summary.facts),
        counts=_facts_table("Counts", summary.counts),
        evidence=_evidence(summary),
        **context,
    )


def _study(summary: Summary) -> dict[str, Any]:
    shown = view.study_view(summary)
    first = shown.loads[:1]
    return {
        "view": shown,
        "streams": words.streams,
        "conclusions": words.conclusions(summary.decisions),
        "confidence": words.percent(shown.confidence),
        "decision_confidence": words.percent(shown.decision_confidence),
        "measured": view.measured(shown),
        "speedup_panels": _speedup_panels(shown.loads),
        "al_panels": _al_panels(shown.loads) + [p for load in first for p in _rates_panels(load)],
        "arms": [(arm.name, number % charts.MAX_SHAPES) for number, arm in enumerate(shown.arms)],
    }


def _speedup_panels(loads: Sequence[view.Load]) -> list[Panel]:
    limits = charts.speedup_domain(loads)
    return [
        Panel(
            title=f"At {words.streams(load.concurrency)}",
            svg=charts.speedup_svg(load, limits),
            alternative=_alternative(
                f"Measured speedup at {words.streams(load.concurrency)}",
                [(line.name, line.best.speedup) for line in load.lines],
            ),
        )
        for load in loads
    ]


def _al_panels(loads: Sequence[view.Load]) -> list[Panel]:
    """Return acceptance length at every load, or once where it is the same at all of them."""
    if not loads:
        return []
    limits = charts.al_domain(line for load in loads for line in load.all_lines)
    same = len(loads) > 1 and len({_als(load) for load in loads}) == 1
    return [
        Panel(
            title="AL per step, the same at every load"
            if same
            else f"AL per step at {words.streams(load.concurrency)}",
            svg=charts.al_svg(load, limits),
            alternative=_alternative(
                f"Acceptance length per step at {words.streams(load.concurrency)}",
                [(line.name, max((a.al for a in line.arms), key=_value)) for line in load.lines],
            ),
        )
        for load in (loads[:1] if same else loads)
    ]


def _als(load: view.Load) -> tuple[str, ...]:
    """Return what a drawing of acceptance length shows; text, because NaN equals nothing."""
    return tuple(repr(arm.al.value) for line in load.all_lines for arm in line.arms)


def _rates_panels(load: view.Load) -> list[Panel]:
    """Return the heat maps of conditional acceptance rates, of the methods that have any."""
    panels = []
    for number, arm in enumerate(load.overall.arms):
        rows = [(line.name, line.arms[number].rates) for line in load.all_lines]
        if arm.rates:
            panels.append(_rates_panel(arm.arm.name, rows))
    return panels


def _rates_panel(name: str, rows: Sequence[tuple[str, Sequence[Estimate]]]) -> Panel:
    return Panel(
        title=f"Conditional acceptance rate by draft position, {name}",
        svg=charts.rates_svg(rows),
        alternative=_alternative(
            "Conditional acceptance rate at draft position 1",
            [(label, rates[0]) for label, rates in rows if rates],
        ),
    )


def _alternative(what: str, found: Iterable[tuple[str, Estimate]]) -> str:
    """Return a figure in a sentence, for those who do not see it."""
    known = [(name, e) for name, e in found if words.value_text(e) != words.NONE]
    if not known:
        return f"{what}: no values."
    least = min(known, key=lambda pair: pair[1].value)
    most = max(known, key=lambda pair: pair[1].value)
    return (
        f"{what}, from {words.value_text(least[1])} ({least[0]}) to {words.value_text(most[1])} "
        f"({most[0]}). The tables below hold every number."
    )


def _run(summary: Summary) -> dict[str, Any]:
    whole, groups = view.run_view(summary)
    rates = [found.estimand for found in view.rates_of(whole.estimates)]
    of_positions = {name: f"AR {name.removeprefix('ar_')}" for name in rates}
    columns = ACCEPTANCE_COLUMNS | of_positions | OTHER_COLUMNS
    by_category = [line for group in groups if group.by == "category" for line in group.lines]
    extra = {
        _in_words(name): found
        for name, found in whole.estimates.items()
        if name not in columns and words.value_text(found) != words.NONE
    }
    lines = [*by_category, whole]
    return {
        "whole": whole,
        "groups": groups,
        "columns": {name: head for name, head in columns.items() if name in whole.estimates},
        "extra": extra,
        "n_prompts": view.n_prompts,
        "undefined": Estimate.undefined("", "", "not in the summary"),
        "panels": _run_panels(lines, "al_per_step" in whole.estimates, bool(rates)),
    }


def _in_words(estimand: str) -> str:
    """Return an estimand's name without the unit, which has its own column.

    >>> _in_words("step_latency_s_batch_4")
    'step latency batch 4'
    """
    return words.visible(estimand.replace("_s_", "_").replace("_", " "))


def _run_panels(lines: Sequence[view.RunLine], has_al: bool, has_rates: bool) -> list[Panel]:
    panels = []
    if has_al:
        found = [(line.name, line.estimates["al_per_step"]) for line in lines]
        panels.append(
            Panel("AL per step", charts.al_of_run_svg(found), _alternative("AL per step", found))
        )
    if has_rates:
        rates = [(line.name, view.rates_of(line.estimates)) for line in lines]
        panels.append(_rates_panel("this run", rates))
    return panels


def _provenance(facts: Mapping[str, Any]) -> list[Facts]:
    return [_facts_table(name, facts[name]) for name in facts if isinstance(facts[name], Mapping)]


def _facts_table(title: str, facts: Mapping[str, Any]) -> Facts:
    rows = [(words.visible(name), _fact(value)) for name, value in facts.items()]
    return Facts(words.visible(title), tuple(rows))


def _fact(value: Any) -> str:
    if value is None:
        return words.NONE
    if isinstance(value, Mapping):
        return ", ".join(f"{words.visible(k)} {_fact(v)}" for k, v in value.items()) or "none"
    return words.visible(value, 200)


def _evidence(summary: Summary) -> list[tuple[str, str]]:
    """Return on which evidence each estimand stands, each pair once."""
    said: dict[str, list[str]] = {}
    for row in summary.estimates:
        names = said.setdefault(words.visible(row.estimate.evidence, 200), [])
        name = "ar_i" if row.estimate.estimand.startswith("ar_") else row.estimate.estimand
        if name not in names:
            names.append(name)
    return [(", ".join(names), evidence) for evidence, names in said.items()]


def _value(found: Estimate) -> float:
    return found.value if words.value_text(found) != words.NONE else -1.0
