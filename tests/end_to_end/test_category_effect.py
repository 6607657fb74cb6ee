"""Speculation gains more on code than on dialogue, and the run can tell.

This is a claim about the demo pair's final weights: it is what the pair was trained to show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from tests.conftest import EmbeddedRun, measured

from speedbench.config import validated
from speedbench.engines.embedded.models import demo_pair_path
from speedbench.records import Estimate

pytest.importorskip("openvino_genai", reason="the embedded engine is not installed")


@pytest.mark.parametrize(
    "name", ["target/model.safetensors", "target/tokenizer.json", "drafter/model.safetensors"]
)
def test_the_model_card_names_exactly_these_files(name: str) -> None:
    digest = hashlib.sha256((demo_pair_path() / name).read_bytes()).hexdigest()
    assert f"{digest}  {name}" in (demo_pair_path() / "README.md").read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedRun:
    """All prompts of two categories, answered as the quickstart has them answered."""
    config = validated(
        {
            "engine": {"engine": "embedded", "method": "draft_model", "pair": "unexpanded"},
            "data": {"categories": ["coding", "roleplay"], "max_turns": 1},
            "load": {"concurrency": 8},
            "sampling": {"max_tokens": 64, "frequency_penalty": 0.2},
        }
    )
    return measured(config, tmp_path_factory.mktemp("categories") / "run")


def estimate(run: EmbeddedRun, name: str, category: str) -> Estimate:
    (found,) = [
        row.estimate
        for row in run.summary.estimates
        if row.estimate.estimand == name and row.slice == {"category": category}
    ]
    return found


def test_acceptance_length_of_coding_is_above_that_of_roleplay_beyond_the_intervals(
    run: EmbeddedRun, tell: Callable[[str], None]
) -> None:
    coding, roleplay = (estimate(run, "al_per_step", c) for c in ("coding", "roleplay"))
    for name, al in (("coding", coding), ("roleplay", roleplay)):
        tell(f"{name}: AL per step {al.value:.2f} [{al.low:.2f}, {al.high:.2f}], n {al.n}")
    assert coding.low > roleplay.high


@pytest.mark.parametrize("category", ["coding", "roleplay"])
def test_the_answers_are_no_loops(category: str, run: EmbeddedRun) -> None:
    """A loop repeats its 3-grams, and is easy to draft whatever the text."""
    assert estimate(run, "distinct_3gram_share", category).value > 0.7
