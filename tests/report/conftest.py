"""A study and a run made of round numbers, so that what is printed can be checked by eye."""

from __future__ import annotations

import math
from typing import Any

import pytest

from speedbench.records import Estimate, Row, Summary
from speedbench.report.page import rendered

UNITS = {
    "al_per_step": "tokens/step",
    "al_per_request": "tokens/step",
    "speedup_measured": "ratio",
    "speedup_proxy": "ratio",
    "c_draft": "target steps",
    "c_verify": "target steps",
    "user_tps": "tokens/s",
    "ttft_s_p50": "s",
    "tpot_vllm_s": "s/token",
    "step_latency_s_batch_4": "s",
}
TIER_A = "tier A: the engine's own per-step counts"
# Measured speedup of ngram and of draft_model, low and high at plus and minus 10%.
SPEEDUPS = {
    (1, "coding"): (1.10, 1.60),
    (1, "math"): (0.95, math.nan),
    (1, "roleplay"): (0.70, 0.60),
    (1, None): (0.98, 1.20),
    (8, "coding"): (0.80, 0.75),
    (8, "math"): (0.70, 0.72),
    (8, "roleplay"): (0.60, 0.50),
    (8, None): (0.70, 0.65),
}
AL = {"coding": 2.5, "math": 1.9, "roleplay": 1.4, None: 1.93}
ON = {"verdict": "on", "method": "draft_model", "draft_length": 3}
OFF = {"verdict": "off", "method": None, "draft_length": None}
OPEN = {"verdict": "cannot tell", "method": None, "draft_length": None}


def estimate(name: str, value: float, spread: float = 0.1, note: str = "", n: int = 8) -> Estimate:
    if math.isnan(value):
        return Estimate.undefined(name, UNITS.get(name, "share"), note or "no prompt with data")
    return Estimate(
        estimand=name,
        value=value,
        low=value * (1 - spread),
        high=value * (1 + spread),
        n=n,
        unit=UNITS.get(name, "share"),
        evidence=TIER_A,
        note=note,
    )


def study_rows(rename: dict[str, str]) -> list[Row]:
    rows = []
    for (concurrency, category), pair in SPEEDUPS.items():
        where = {} if category is None else {"category": rename.get(category, category)}
        for number, (method, speedup) in enumerate(
            zip(("ngram", "draft_model"), pair, strict=True)
        ):
            cell = {"method": method, "draft_length": 3, "concurrency": concurrency}
            figures = {
                "al_per_step": AL[category] + number / 10,
                "speedup_measured": speedup,
                "speedup_proxy": speedup * 1.1,
                "distinct_3gram_share": 0.97,
                "identical_share": 1.0,
            }
            if number:
                figures |= {"ar_1": 0.6, "ar_2": 0.5, "ar_3": math.nan}
            rows += [Row(cell=cell, slice=where, estimate=estimate(*f)) for f in figures.items()]
    cell = {"method": "draft_model", "draft_length": 3, "concurrency": 1}
    rows += [
        Row(cell=cell, slice={}, estimate=estimate("c_draft", 0.08)),
        Row(cell=cell, slice={}, estimate=estimate("c_verify", 1.1)),
        Row(
            cell={**cell, "pair": "unexpanded"},
            slice={},
            estimate=estimate("speedup_measured", 0.7),
        ),
    ]
    return rows


def make_study(rename: dict[str, str] | None = None, **changes: Any) -> Summary:
    """Return the study; `rename` gives categories other names."""
    names = rename or {}
    verdicts = [
        (1, "coding", ON),
        (1, "math", OPEN),
        (1, "roleplay", OFF),
        (1, None, ON),
        *((8, name, OFF) for name in ("coding", "math", "roleplay", None)),
    ]
    decisions = [
        {
            "concurrency": concurrency,
            "slice": {} if name is None else {"category": names.get(name, name)},
            "why": f"{names.get(name, name)}: 1.60x [0.00, 222600225358602037016893631.00]",
            "confidence": 0.9979166,
            **verdict,
        }
        for concurrency, name, verdict in verdicts
    ]
    content: dict[str, Any] = {
        "kind": "study",
        "title": "speedbench-demo-pair on mini",
        "estimates": study_rows(names),
        "decisions": decisions,
        "counts": {"runs": 6, "requests": 60, "failed": 2, "failures": {"timeout": 2}},
        "facts": {"engine": {"model": "demo", "pair": "a toy"}, "dataset": {"name": "mini"}},
        "notes": ["Measured on the demo pair, a toy that ships with speedbench."],
    }
    return Summary(**{**content, **changes})


def make_run(figures: dict[str, float], **changes: Any) -> Summary:
    """Return a run with these figures, in two categories and as a whole."""
    slices: list[dict[str, str]] = [{}, {"category": "coding"}, {"category": "math"}, {"turn": "0"}]
    rows = [
        Row(cell={"method": "as_served"}, slice=where, estimate=estimate(name, value))
        for where in slices
        for name, value in figures.items()
    ]
    content: dict[str, Any] = {
        "kind": "run",
        "title": "some-model on mini",
        "estimates": rows,
        "counts": {"planned": 24, "finished": 24, "failed": 0, "failures": {}},
        "facts": {"engine": {"model": "some-model"}, "dataset": {"name": "mini"}},
    }
    return Summary(**{**content, **changes})


@pytest.fixture(scope="session")
def study() -> Summary:
    return make_study()


@pytest.fixture
def make_a_study() -> Any:
    return make_study


@pytest.fixture
def make_a_run() -> Any:
    return make_run


@pytest.fixture(scope="session")
def run() -> Summary:
    """A run of an engine that tells its steps."""
    figures = {
        "al_per_step": 1.7,
        "al_per_request": 1.65,
        "ar_1": 0.6,
        "ar_2": 0.25,
        "ar_3": math.nan,
        "distinct_3gram_share": 0.95,
        "user_tps": 30.4,
        "ttft_s_p50": 0.3211,
        "step_latency_s_batch_4": 0.0275,
    }
    return make_run(figures)


@pytest.fixture(scope="session")
def study_page(study: Summary) -> str:
    """The report of the study: drawing takes longer than looking."""
    return rendered(study)


@pytest.fixture(scope="session")
def run_page(run: Summary) -> str:
    """The report of the run."""
    return rendered(run)
