"""Every token of every request is accounted for, and speculation does not change the answer.

Measured on the real engine: every method at concurrency 1 and 4 (fixture `embedded_runs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl
import pytest
from tests.conftest import EmbeddedRun, embedded_config, measured

from speedbench.config import SamplingConfig

pytest.importorskip("openvino_genai", reason="the embedded engine is not installed")

METHODS = ("none", "ngram", "draft_model")
Runs = Mapping[tuple[str, int], EmbeddedRun]
every_run = pytest.mark.parametrize(
    "which", [(method, concurrency) for method in METHODS for concurrency in (1, 4)]
)


def answers(run: EmbeddedRun) -> dict[str, list[int]]:
    """Output ids by request."""
    table = run.trace.requests
    return dict(zip(table["request_id"], table["output_ids"].to_list(), strict=True))


@every_run
def test_tokens_of_prefill_and_steps_are_all_that_the_engine_counts(
    which: tuple[str, int], embedded_runs: Runs
) -> None:
    """The count is GenAI's own (PerfMetrics), not a sum over what was streamed."""
    requests = embedded_runs[which].trace.requests
    assert requests["failure_kind"].null_count() == len(requests) >= 12
    assert (requests["n_prefill_tokens"] == 1).all()
    total = requests["n_prefill_tokens"] + requests["n_step_tokens"]
    assert (total == requests["n_output_tokens"]).all()
    assert (total == requests["output_ids"].list.len()).all()
    assert (total <= 20).all()


@every_run
def test_no_step_accepts_more_than_was_drafted(which: tuple[str, int], embedded_runs: Runs) -> None:
    steps = embedded_runs[which].trace.steps
    assert (steps["emitted"] >= 1).all()
    if which[0] == "ngram":
        assert steps["drafted"].null_count() == len(steps)
        assert (steps["emitted"] <= 4).all()
    else:
        assert (steps["accepted"] <= steps["observed"]).all()
        assert (steps["observed"] <= steps["drafted"]).all()
        assert steps["drafted"].max() == (3 if which[0] == "draft_model" else 0)


@every_run
def test_stamps_run_forward(which: tuple[str, int], embedded_runs: Runs) -> None:
    trace = embedded_runs[which].trace
    requests = trace.requests
    for earlier, later in (
        ("scheduled_ns", "sent_ns"),
        ("sent_ns", "first_ns"),
        ("first_ns", "last_ns"),
        ("last_ns", "ended_ns"),
    ):
        assert (requests[earlier] <= requests[later]).all(), (earlier, later)
    steps = trace.steps.with_columns(before=pl.col("ended_ns").shift().over("request"))
    assert (steps["ended_ns"] > steps["before"]).drop_nulls().all()
    assert (steps["seconds"] > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_batch_is_real(method: str, embedded_runs: Runs) -> None:
    alone, together = (embedded_runs[method, n].trace.steps["batch"] for n in (1, 4))
    assert alone.max() == 1
    assert together.max() == 4


def test_speculation_and_batching_change_no_token(
    embedded_runs: Runs, tell: Callable[[str], None]
) -> None:
    """All arithmetic is f32, but sums are taken in another order when several tokens are verified
    in one pass: logits that differ by less than about 1e-5 may then swap places.  On these prompts
    none do; should a new pair of weights have such a tie, the share is printed here.
    """
    reference = answers(embedded_runs["none", 1])
    shares = {}
    for which, run in embedded_runs.items():
        same = [ids == reference[name] for name, ids in answers(run).items()]
        shares[which] = sum(same) / len(reference)
    told = ", ".join(f"{m} at {c}: {share:.3f}" for (m, c), share in shares.items())
    tell(f"share of greedy answers identical to none at 1: {told}")
    assert set(shares.values()) == {1.0}


def test_the_same_seed_gives_the_same_acceptance_to_the_digit(
    embedded_runs: Runs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = embedded_runs["draft_model", 1]
    again = measured(first.config, tmp_path_factory.mktemp("again") / "run")
    assert answers(again) == answers(first)
    assert list(answers(again)) == list(answers(first)), "the order of prompts"
    for name in ("al_per_step", "al_per_request", "acceptance_share", "ar_1"):
        assert estimates(again, name) == estimates(first, name)


def estimates(run: EmbeddedRun, name: str) -> list[tuple[object, ...]]:
    return [
        (sorted(row.slice.items()), repr(row.estimate))
        for row in run.summary.estimates
        if row.estimate.estimand == name
    ]


def test_another_seed_gives_another_order(
    embedded_runs: Runs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = embedded_runs["none", 4]
    other = measured(embedded_config("none", 4, seed=1), tmp_path_factory.mktemp("seed") / "run")
    assert list(answers(other)) != list(answers(first))


def test_the_expanded_target_gives_the_same_greedy_ids(
    embedded_runs: Runs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = embedded_runs["none", 4]
    config = embedded_config("none", 4, pair="expanded")
    expanded = measured(config, tmp_path_factory.mktemp("expanded") / "run")
    assert answers(expanded) == answers(plain)


@pytest.mark.parametrize(
    "method",
    ["none", "ngram", "draft_model"],
)
def test_tokens_are_conserved_when_sampling_too(
    method: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sampling = SamplingConfig(max_tokens=16, temperature=0.7)
    config = embedded_config(method, prompts=3).model_copy(update={"sampling": sampling})
    run = measured(config, tmp_path_factory.mktemp("sampled") / "run")
    assert run.trace.requests["failure_kind"].drop_nulls().to_list() == []
