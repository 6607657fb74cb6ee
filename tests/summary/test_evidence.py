"""Several accounts of one run beside each other, and totals of which no step is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from speedbench import summary, trace
from speedbench.records import (
    Chunk,
    ChunkCheck,
    Counts,
    Event,
    Failed,
    Prompt,
    Request,
    Response,
    Sampling,
    ServerCounts,
    Step,
)

CELL: Mapping[str, str | int | None] = {"engine": "vllm", "method": "draft_model"}
DATASET = {"name": "d", "n_requests": 2}
ENGINE = {"model": "m"}


def answer(accepted: Sequence[int], **more: Any) -> Response:
    steps = tuple(
        Step(ended_ns=10 + i, emitted=a + 1, drafted=3, accepted=a) for i, a in enumerate(accepted)
    )
    chunks = [Chunk(at_ns=5, n_tokens=1, token_ids=(1,))]
    chunks += [
        Chunk(at_ns=step.ended_ns or 0, n_tokens=step.emitted, token_ids=(1,) * step.emitted)
        for step in steps
    ]
    response = Response(
        chunks=tuple(chunks),
        steps=steps,
        tier="A",
        n_prefill_tokens=1,
        n_output_tokens=1 + sum(accepted) + len(accepted),
        counts=Counts(drafts=len(accepted), drafted=3 * len(accepted), accepted=sum(accepted)),
        chunk_check=ChunkCheck(chunks=len(accepted), steps=len(accepted)),
    )
    return msgspec.structs.replace(response, **more)


def summarised(
    answers: Sequence[Response | None], server: ServerCounts | None = None, **engine: Any
) -> Any:
    """The summary of a run whose n-th prompt was answered so; None for a request that failed."""
    prompts = {
        f"p{i}": Prompt(id=f"p{i}", category="qa", turns=("?",)) for i in range(len(answers))
    }
    attempts = [
        trace.Attempt(
            request=Request(
                id=f"p{i}#0",
                prompt_id=f"p{i}",
                turn=0,
                input_hash="h",
                sampling=Sampling(max_tokens=64),
            ),
            launch=0,
            block=0,
            scheduled_ns=i,
            sent_ns=i,
            ended_ns=100,
            events=[Event(i, b"")],
            failed=None if found else Failed(at_ns=9, kind="total_timeout", detail="too late"),
        )
        for i, found in enumerate(answers)
    ]

    def decode(request: Request, events: Sequence[Event]) -> Response:
        found = answers[events[0].at_ns]
        assert found is not None
        return found

    columns = trace.build(attempts, prompts, decode)
    return summary.of_run(columns, CELL, DATASET, {**ENGINE, **engine}, [], server)


def value(found: Any, estimand: str) -> float:
    rows = [r.estimate for r in found.estimates if r.estimate.estimand == estimand and not r.slice]
    return rows[0].value if rows else float("nan")


def counted(drafts: int, drafted: int, accepted: int, **more: Any) -> ServerCounts:
    return ServerCounts(
        speculation=Counts(drafts=drafts, drafted=drafted, accepted=accepted), **more
    )


def test_equal_accounts_agree_and_nothing_is_said() -> None:
    found = summarised([answer([3, 0]), answer([1])], counted(3, 9, 4))
    told = found.facts["evidence"]
    assert told["tiers"] == {"A": 2}
    assert told["server"]["agree"] is True
    assert told["chunks_and_steps"]["steps"] == told["chunks_and_steps"]["decode_chunks"] == 3
    assert found.notes == []


def test_somebody_else_on_the_server_is_said() -> None:
    found = summarised([answer([3, 0]), answer([1])], counted(5, 15, 6))
    assert found.facts["evidence"]["server"]["agree"] is False
    assert any("somebody else used the server" in note for note in found.notes)


def test_what_a_failed_request_drafted_is_in_the_servers_counts_alone() -> None:
    found = summarised([answer([3, 0]), None], counted(4, 12, 6))
    assert any("1 requests failed and are in the server's counts alone" in n for n in found.notes)


def test_merged_and_unexplained_chunks_are_said() -> None:
    merged = answer([3, 0], chunk_check=ChunkCheck(chunks=1, steps=2, merged=1))
    wrong = answer([1], chunk_check=ChunkCheck(chunks=1, steps=1, residual=2))
    found = summarised([merged, wrong])
    assert any("1 of 3 decode steps arrived in a chunk together" in note for note in found.notes)
    assert any("differ by 2 that no cause explains" in note for note in found.notes)


def test_a_warm_cache_is_said() -> None:
    found = summarised([answer([1])], counted(1, 3, 1, cached_tokens=640))
    assert any("640 input tokens were found in the server's prefix cache" in n for n in found.notes)


def test_where_requests_tell_nothing_the_servers_counters_are_tier_d() -> None:
    silent = answer([3, 0], steps=(), tier="none", counts=None, chunk_check=None)
    server = ServerCounts(
        speculation=Counts(drafts=4, drafted=12, accepted=6, accepted_at=(3, 2, 1))
    )
    found = summarised([silent, silent], server)
    assert value(found, "al_given_draft") == 2.5
    assert value(found, "acceptance_share") == 0.5
    assert [value(found, f"marginal_rate_{i}") for i in (1, 2, 3)] == [0.75, 0.5, 0.25]
    rows = [r.estimate for r in found.estimates if r.estimate.estimand == "al_given_draft"]
    assert rows[0].evidence.startswith("tier D")
    assert "only if nobody else used it" in rows[0].note


def test_totals_without_steps_give_lengths_and_no_rates() -> None:
    """TensorRT-LLM where chunks are merged: 6 tokens in 3 steps, and 4 in 1."""
    one = answer([3, 0, 0], steps=(), tier="B", counts=Counts(steps=3))
    two = answer([3], steps=(), tier="B", counts=Counts(steps=1))
    found = summarised([one, two])
    assert value(found, "al_per_step") == pytest.approx(10 / 4)
    assert value(found, "al_per_request") == pytest.approx((2 + 4) / 2)
    rows = {r.estimate.estimand: r.estimate for r in found.estimates if not r.slice}
    assert rows["al_given_draft"].n == 0
    assert rows["al_given_draft"].note == "only totals are known of 4 steps"
    assert found.facts["evidence"]["tiers"] == {"B": 2}


def test_steps_and_totals_of_one_run_are_added() -> None:
    total = answer([3], steps=(), tier="B", counts=Counts(steps=2))
    found = summarised([answer([3, 0]), total])
    assert value(found, "al_per_step") == pytest.approx((5 + 4) / 4)
    rows = {r.estimate.estimand: r.estimate for r in found.estimates if not r.slice}
    assert "1 requests" in rows["al_per_step"].evidence


def test_branching_drafts_have_no_rates_by_position() -> None:
    found = summarised([answer([3, 0]), answer([1])], draft_tree=True)
    assert value(found, "al_per_step") == pytest.approx(7 / 3)
    names = {row.estimate.estimand for row in found.estimates}
    assert not any(name.startswith("ar_") for name in names)


def test_a_steps_time_is_the_gap_before_it_by_how_many_it_accepted() -> None:
    slow = answer([0, 2, 2])
    steps = [
        msgspec.structs.replace(step, ended_ns=at_ns)
        for step, at_ns in zip(slow.steps, (10_000_000, 30_000_000, 60_000_000), strict=True)
    ]
    found = summarised([msgspec.structs.replace(slow, steps=tuple(steps))] * 2)
    assert value(found, "step_gap_s_accepted_2") == pytest.approx(0.025)  # 20 and 30 ms
    names = {row.estimate.estimand for row in found.estimates}
    assert "step_gap_s_accepted_0" not in names  # before it lies the prefill's chunk
