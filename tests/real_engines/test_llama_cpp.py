"""llama.cpp's server: every method, and the estimators on rates that it was told."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.real_engines.comparing import compared
from tests.real_engines.conftest import DRAFT_LENGTH, Figures, Measured, Serve

METHODS = ("none", "ngram", "draft_model", "eagle3")
MATTERS = 0.2
JOINT = (0.9, 0.7, 0.4, 0.2)
"""What ``--spec-synth-rates`` is told: P(at least i accepted), for i = 1, 2, 3, 4."""


@pytest.fixture(scope="module")
def baseline(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    with serve("llama_cpp", "none") as server:
        return server.run(tmp_path_factory.mktemp("baseline") / "run")


@pytest.mark.parametrize("method", METHODS)
def test_every_account_of_a_method_agrees(
    method: str,
    serve: Serve,
    tmp_path: Path,
    baseline: Measured,
    figures: Figures,
) -> None:
    with serve("llama_cpp", method) as server:
        run = server.run(tmp_path / "run", preflight="warn")
        loaded = server.run(tmp_path / "c8", load={"concurrency": 8}, preflight="off")
    table = run.trace.requests
    found = compared(baseline, run)
    figures.add(
        "llama_cpp",
        method,
        run,
        identical_share=found.identical_share,
        first_divergence=[d._asdict() for d in found.divergences[:1]],
    )
    assert run.evidence["tiers"] == {"A": 22}
    assert run.evidence["server"]["agree"], run.evidence
    assert table["unexplained"].sum() == 0
    assert table["attempt"].sum() <= 1  # it closes every connection, and is known to after one
    assert found.compared == 22
    assert not found.unexplained
    checks = {f["check"]: f["verdict"] for f in run.manifest.preflight}
    assert checks["tokenizer"] == checks["input"] == checks["temperature 0"] == "pass"
    # The preflight says beforehand what the two loads show: EAGLE3 drafts worse in a batch there.
    figures.add("llama_cpp", f"{method} at concurrency 8", loaded)
    if method in ("draft_model", "eagle3"):
        alone, together = (r.value("acceptance_share") for r in (run, loaded))
        depends = abs(alone - together) > MATTERS * max(alone, together)
        assert checks["concurrency"] == ("fail" if depends else "pass"), (alone, together)


def test_the_estimators_recover_the_rates_that_the_server_was_told(
    serve: Serve, tmp_path: Path, figures: Figures
) -> None:
    """``--spec-synth-rates``: a real server whose truth is known."""
    told = ",".join(map(str, JOINT))
    with serve("llama_cpp", "draft_model", "--spec-synth-rates", told) as server:
        run = server.run(
            tmp_path / "run",
            data={"num_prompts": 110, "max_turns": 1},
            sampling={"max_tokens": 64},
            preflight="warn",
        )
    figures.add("llama_cpp", f"draft_model, synthetic rates {told}", run, told=list(JOINT))
    conditional = [joint / before for joint, before in zip(JOINT, (1.0, *JOINT), strict=False)]
    rows = {row.estimate.estimand: row.estimate for row in run.summary.estimates if not row.slice}
    for position, rate in enumerate(conditional, start=1):
        found = rows[f"ar_{position}"]
        assert found.n >= 100
        assert found.low <= rate <= found.high, f"AR{position} {found.value} of {rate}"
    full = rows["al_at_full_draft_length"]
    assert full.low <= 1 + sum(JOINT) <= full.high
    assert run.evidence["server"]["agree"]
    assert len(JOINT) == DRAFT_LENGTH
