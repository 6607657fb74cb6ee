"""What is made of a few answers: each fault found in a real engine, and its absence."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from speedbench.engines import About
from speedbench.launch.findings import Asked, Finding, Said, findings, input_finding
from speedbench.records import (
    Chunk,
    ChunkCheck,
    Counts,
    Request,
    Response,
    Sampling,
    Step,
)

SAID = Said(method="draft_model", draft_length=4, temperature=0.0, max_tokens=48)
N = 8


def request(number: int) -> Request:
    return Request(
        id=f"p{number}#0",
        prompt_id=f"p{number}",
        turn=0,
        input_hash="h",
        sampling=Sampling(max_tokens=48),
        input_ids=(1, 2, 3),
    )


def answer(accepted: Sequence[int] = (2, 0, 4), drafted: int = 4, **more: object) -> Response:
    """An answer of one prefill token and a step for each entry of `accepted`."""
    steps = [
        Step(ended_ns=i, emitted=a + 1, drafted=drafted, accepted=a) for i, a in enumerate(accepted)
    ]
    lengths = [1, *(a + 1 for a in accepted)]
    chunks = [Chunk(at_ns=i, n_tokens=n, token_ids=tuple(range(n))) for i, n in enumerate(lengths)]
    response = Response(
        chunks=tuple(chunks),
        steps=tuple(steps),
        tier="A",
        n_prefill_tokens=1,
        n_input_tokens=3,
        n_output_tokens=sum(lengths),
        n_cached_tokens=0,
        finish_reason="length",
        chunk_check=ChunkCheck(chunks=len(steps), steps=len(steps)),
    )
    return msgspec.structs.replace(response, **more)


def asked(**more: object) -> Asked:
    alone = tuple(answer() for _ in range(N))
    plain = {"alone": alone, "again": alone[:2], "together": alone}
    return Asked(requests=tuple(request(i) for i in range(N)), **{**plain, **more})


def found(said: Said, what: Asked, about: About | None = None) -> dict[str, Finding]:
    about = about or About(engine="vllm", version="0.33.0")
    return {finding.check: finding for finding in findings(said, about, what)}


def test_a_server_that_does_what_was_said_passes_every_check() -> None:
    assert {f.verdict for f in found(SAID, asked()).values()} == {"pass"}


@pytest.mark.parametrize("method", ["draft_model", "eagle3", "mtp"])
def test_a_server_that_silently_does_not_speculate_fails(method: str) -> None:
    plain = tuple(answer([0] * 9, drafted=0) for _ in range(N))
    said = msgspec.structs.replace(SAID, method=method)
    finding = found(said, asked(alone=plain, together=plain))["speculation"]
    assert finding.verdict == "fail"
    assert f"was said to speculate by {method}, and does not" in finding.sentence


def test_lookup_that_finds_nothing_may_be_right() -> None:
    plain = tuple(answer([0] * 9, drafted=0) for _ in range(N))
    said = msgspec.structs.replace(SAID, method="ngram")
    finding = found(said, asked(alone=plain, together=plain))["speculation"]
    assert finding.verdict == "caution"
    assert "or is off" in finding.sentence


def test_a_baseline_that_speculates_fails() -> None:
    said = msgspec.structs.replace(SAID, method="none", draft_length=None)
    assert found(said, asked())["speculation"].verdict == "fail"


def test_without_any_account_nothing_is_claimed() -> None:
    silent = tuple(
        msgspec.structs.replace(answer(), steps=(), tier="none", chunk_check=None) for _ in range(N)
    )
    checks = found(SAID, asked(alone=silent, again=silent[:2], together=silent))
    for name in ("speculation", "draft length", "chunks", "concurrency"):
        assert checks[name].verdict == "cannot tell", name


def test_another_draft_length_fails() -> None:
    short = tuple(answer([2, 0, 1], drafted=3) for _ in range(N))
    finding = found(SAID, asked(alone=short, again=short[:2], together=short))["draft length"]
    assert finding.verdict == "fail"
    assert finding.sentence == "said to be 4, at most 3 tokens a step were drafted"


def test_different_answers_at_temperature_0_are_a_caution_that_names_the_token() -> None:
    other = msgspec.structs.replace(answer(), chunks=(Chunk(at_ns=0, n_tokens=1, token_ids=(9,)),))
    finding = found(SAID, asked(again=(answer(), other)))["temperature 0"]
    assert finding.verdict == "caution"
    assert "(p1, from token 0)" in finding.sentence


def test_an_answer_longer_than_allowed_fails() -> None:
    long = tuple(answer(n_output_tokens=64) for _ in range(N))
    finding = found(SAID, asked(alone=long))["token limit"]
    assert finding.verdict == "fail"
    assert "48 tokens were allowed and 64 came" in finding.sentence


@pytest.mark.parametrize(
    ("per_request", "by_server", "verdict"),
    [(0, None, "pass"), (17, None, "caution"), (None, 34, "caution"), (None, 0, "pass"),
     (None, None, "cannot tell")],
)  # fmt: skip
def test_a_prefix_cache_is_told_by_either_account(
    per_request: int | None, by_server: int | None, verdict: str
) -> None:
    again = tuple(answer(n_cached_tokens=per_request) for _ in range(2))
    assert (
        found(SAID, asked(again=again, cached_tokens=by_server))["prefix cache"].verdict == verdict
    )


def test_chunks_that_hold_several_steps_are_a_caution_and_unexplained_ones_a_failure() -> None:
    merged = answer(chunk_check=ChunkCheck(chunks=2, steps=3, merged=1))
    finding = found(SAID, asked(alone=(merged,) * N))["chunks"]
    assert (finding.verdict, "stream interval above 1" in finding.sentence) == ("caution", True)
    wrong = answer(chunk_check=ChunkCheck(chunks=3, steps=3, residual=1))
    assert found(SAID, asked(alone=(wrong,) * N))["chunks"].verdict == "fail"


def test_acceptance_that_falls_with_concurrency_fails() -> None:
    """.380 alone and .113 at 8, as llama.cpp's EAGLE3 of mid-2026."""
    alone = tuple(answer([2, 1, 2, 1, 2, 1] + [i % 2] * 3) for i in range(N))
    many = tuple(answer([0, 1, 0, 1, 0, 1] + [i % 2] * 3) for i in range(N))
    finding = found(SAID, asked(alone=alone, again=alone[:2], together=many))["concurrency"]
    assert finding.verdict == "fail"
    assert "must not depend on load" in finding.sentence


def test_for_equal_answers_a_fault_in_some_prompts_is_enough() -> None:
    """Where the tokens are the same, prompts that differ much from each other hide nothing."""
    tokens = tuple(Chunk(at_ns=i, n_tokens=1, token_ids=(i,)) for i in range(20))
    alone = tuple(answer([4, 4, 4, 3] if i < 3 else [0] * 16, chunks=tokens) for i in range(N))
    many = tuple(answer([0] * 19 if i < 3 else [0] * 16, chunks=tokens) for i in range(N))
    finding = found(SAID, asked(alone=alone, again=alone[:2], together=many))["concurrency"]
    assert finding.verdict == "fail"
    assert "in 8 answers that are the same token by token" in finding.sentence
    lookup = msgspec.structs.replace(SAID, method="suffix")
    finding = found(lookup, asked(alone=alone, again=alone[:2], together=many))["concurrency"]
    assert finding.verdict == "caution"  # it may remember what it was asked before
    # A drafter that rounds otherwise in a batch: one token more here and there.
    near = tuple(answer([4, 4, 4, 2, 0] if i < 2 else [0] * 16, chunks=tokens) for i in range(N))
    same = found(SAID, asked(alone=near, again=near[:2], together=(*alone[:2], *near[2:])))
    assert same["concurrency"].verdict == "pass"


def test_acceptance_that_collapses_above_temperature_0_fails() -> None:
    """.445 at temperature 0 and .015 at .05, as vLLM's CPU builds to 0.32."""
    said = msgspec.structs.replace(SAID, temperature=0.05)
    sampled = tuple(answer([0] * 20 + [i % 2]) for i in range(N))
    finding = found(said, asked(sampled=sampled))["temperature"]
    assert finding.verdict == "fail"
    assert "collapses" in finding.sentence
    mild = tuple(answer([2, 0, 3 + i % 2]) for i in range(N))
    assert found(said, asked(sampled=mild))["temperature"].verdict == "pass"


def test_equal_acceptance_is_hardly_ever_called_a_difference() -> None:
    """Answers that part by rounding: other counts from the same distribution, 1,000 servers."""
    rng = np.random.default_rng(20_261_124)
    alarms = 0
    for _ in range(1000):
        accepted = rng.binomial(4, 0.4, size=(2, N, 12)).tolist()
        one, other = (tuple(answer(counts) for counts in prompts) for prompts in accepted)
        checks = found(SAID, asked(alone=one, again=one[:2], together=other))
        alarms += checks["concurrency"].verdict != "pass"
    assert alarms <= 2


def test_a_second_bos_is_told_by_the_input_count() -> None:
    finding = input_finding([request(0)], [answer(n_input_tokens=4)])
    assert finding is not None
    assert finding.verdict == "fail"
    assert "3 ids were sent and the server read 4" in finding.sentence
    same = input_finding([request(0)], [answer()])
    assert same is not None
    assert same.verdict == "pass"
    messages = msgspec.structs.replace(request(0), input_ids=None)
    assert input_finding([messages], [answer()]) is None


def test_the_engines_own_sums_are_preferred_to_steps() -> None:
    told = answer(counts=Counts(drafts=3, drafted=12, accepted=0))
    finding = found(SAID, asked(alone=(told,) * N))["speculation"]
    assert "96 tokens were drafted in 24 steps of 8 answers, 0 of them accepted" in finding.sentence
