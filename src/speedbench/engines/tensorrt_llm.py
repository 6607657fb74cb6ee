"""TensorRT-LLM: token ids in and out, and how many tokens each iteration gave on average.

Wire facts as of TensorRT-LLM 1.2 (serve/openai_protocol.py, serve/postprocess_handlers.py,
batch_manager/llmRequest.h, _torch/pyexecutor/sampler.py), and of its main branch in autumn 2026:

- ``/v1/completions`` takes token ids as ``prompt``; with ``detokenize`` false every chunk has its
  ids in ``choices[].token_ids``, and no text;
- ``choices[].avg_decoded_tokens_per_iter`` is all tokens so far over all iterations of the request,
  a float of 32 bits; the iteration that ends the prefill is one of them, and its token too: decode
  steps are one less;
- with ``per_request_spec_decode_stats: true`` in the server's options (after 1.2, PyTorch backend)
  the chunk that has ``finish_reason`` has ``speculative_decoding`` beside it: a histogram of the
  steps that had a draft; ``num_spec_tokens`` is null where the length of drafts varies;
- records of ``/perf_metrics`` name a request by a number that its client is never told, so they
  cannot be joined to answers; the counters of ``/prometheus/metrics`` (with
  ``return_perf_metrics``) are for the whole server, by position in the draft from 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from speedbench.engines.counters import Counters
from speedbench.engines.evidence import Evidence, steps_from_count, steps_from_histogram
from speedbench.engines.openai import (
    Count,
    Message,
    Usage,
    completion_messages,
    conversation,
    json_of,
)
from speedbench.engines.protocol import About, StreamError
from speedbench.records import (
    Chunk,
    Counts,
    Event,
    HttpCall,
    Request,
    Response,
    ServerCounts,
    Tier,
)

AVERAGE_ERROR = 2.0**-20
"""Relative error of an average: a float of 32 bits, with room for how it was printed."""


class TensorRTLLMEngine:
    """Token ids out (or messages), token ids and an average in."""

    name = "tensorrt_llm"
    takes_token_ids = True
    about_paths = ("/version",)
    counts_path = "/prometheus/metrics"

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Say what an average cannot tell: the length of drafts."""
        return [
            "TensorRT-LLM without per_request_spec_decode_stats tells how many steps a request "
            "took, and not how many tokens it drafted: acceptance length is exact, acceptance "
            "rates are unknown."
        ]

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return a completion of ids, or a chat completion of messages where there are none."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "frequency_penalty": sampling.frequency_penalty,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        if request.input_ids is not None:
            body |= {"prompt": request.input_ids, "detokenize": False}
            return HttpCall(path="/v1/completions", body=msgspec.json.encode(body))
        body |= conversation(request)
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read chunks, and the number of steps from the last average."""
        chunks: list[Chunk] = []
        usage, last = Usage(), _Choice()
        n_tokens: int | None = 0
        for at_ns, message in completion_messages(events, _Message):
            usage = message.usage or usage
            for choice in message.choices:
                last = choice.after(last)
            if (usage.completion_tokens or 0) > request.sampling.max_tokens:
                raise StreamError(
                    "bad_counts",
                    f"{usage.completion_tokens} tokens, of at most "
                    f"{request.sampling.max_tokens} asked for",
                )
            if (chunk := _chunk(at_ns, message, n_tokens)) is not None:
                chunks.append(chunk)
                n_tokens = _sum(n_tokens, chunk.n_tokens)
        tier, evidence = _evidence(chunks, n_tokens, last)
        return Response(
            chunks=tuple(chunks),
            steps=evidence.steps if evidence else (),
            tier=tier,
            n_prefill_tokens=min(1, usage.completion_tokens or 0) if evidence else None,
            n_input_tokens=usage.prompt_tokens,
            n_output_tokens=usage.completion_tokens,
            n_cached_tokens=usage.cached_tokens,
            finish_reason=last.finish_reason,
            counts=_counts(evidence, last.speculative_decoding) if evidence else None,
            chunk_check=evidence.check if evidence else None,
        )

    def about(self, answers: Mapping[str, bytes]) -> About:
        """Read the version, which is all that this server tells."""
        version = json_of(answers["/version"], _Version).version if "/version" in answers else None
        return About(engine=self.name, version=version)

    def server_counts(self, text: str) -> ServerCounts:
        """Read the counters by position: every draft has a first one.

        Servers before 1.2 count only tokens, over all positions.
        """
        page = Counters(text)
        spec = "trtllm_spec_decode"
        drafted = page.by_position(f"{spec}_drafted_tokens_total", "token_position")
        accepted = page.by_position(f"{spec}_accepted_tokens_total", "token_position")
        return ServerCounts(
            speculation=Counts(
                drafts=drafted[0] if drafted else None,
                drafted=sum(drafted) if drafted else page.total(f"{spec}_num_draft_tokens_total"),
                accepted=sum(accepted)
                if accepted
                else page.total(f"{spec}_num_accepted_tokens_total"),
                accepted_at=accepted,
            ),
            cached_tokens=page.total("trtllm_prompt_cached_tokens_total"),
        )


class _Spec(msgspec.Struct, frozen=True):
    acceptance_histogram: tuple[Count, ...]
    total_draft_tokens: Count
    total_accepted_draft_tokens: Count
    num_spec_tokens: Count | None = None

    @property
    def drafts(self) -> int:
        """Steps that had a draft."""
        return sum(self.acceptance_histogram)

    @property
    def draft_length(self) -> int | None:
        """How many tokens each draft had; None where not all had as many."""
        length = self.num_spec_tokens
        constant = length is not None and self.total_draft_tokens == length * self.drafts
        return length if constant else None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    text: str | None = None
    delta: _Delta = _Delta()
    token_ids: tuple[Count, ...] | None = None
    finish_reason: str | None = None
    avg_decoded_tokens_per_iter: float | None = None
    speculative_decoding: _Spec | None = None

    @property
    def all_text(self) -> str:
        """The text, of either route."""
        parts = (self.text, self.delta.reasoning_content, self.delta.content)
        return "".join(part for part in parts if part)

    def after(self, before: _Choice) -> _Choice:
        """Return what is known at the end, as far as this or an earlier message says it."""
        return _Choice(
            finish_reason=self.finish_reason or before.finish_reason,
            avg_decoded_tokens_per_iter=self.avg_decoded_tokens_per_iter
            or before.avg_decoded_tokens_per_iter,
            speculative_decoding=self.speculative_decoding or before.speculative_decoding,
        )


class _Message(Message, frozen=True, kw_only=True):
    choices: tuple[_Choice, ...] = ()


class _Version(msgspec.Struct, frozen=True):
    version: str | None = None


def _chunk(at_ns: int, message: _Message, n_before: int | None) -> Chunk | None:
    """Return the chunk of a message; without ids, running usage counts its tokens."""
    text = "".join(choice.all_text for choice in message.choices)
    ids = next((choice.token_ids for choice in message.choices if choice.token_ids), None)
    if ids is not None:
        return Chunk(at_ns=at_ns, n_tokens=len(ids), token_ids=ids, text=text)
    n_total = message.usage.completion_tokens if message.usage is not None else None
    new = None if n_total is None or n_before is None else n_total - n_before
    if new is not None and new < 0:
        raise StreamError("bad_counts", f"{n_before} tokens came, and {n_total} are counted")
    return Chunk(at_ns=at_ns, n_tokens=new, text=text) if text or new else None


def _sum(before: int | None, new: int | None) -> int | None:
    return None if before is None or new is None else before + new


def _evidence(
    chunks: Sequence[Chunk], n_tokens: int | None, last: _Choice
) -> tuple[Tier, Evidence | None]:
    """Return the steps, if their number or their histogram is told and every chunk's tokens are."""
    average, told = last.avg_decoded_tokens_per_iter, last.speculative_decoding
    if n_tokens is None:
        return "none", None
    if told is not None and told.drafts:
        evidence = steps_from_histogram(chunks, told.acceptance_histogram, told.draft_length)
    elif average:
        evidence = steps_from_count(chunks, _n_steps(n_tokens, average), None)
    else:
        return "none", None
    return ("C" if evidence.check.passed else "B"), evidence


def _n_steps(n_tokens: int, average: float) -> int:
    """Return the decode steps of an answer; the engine may count an ending that it does not give.

    Raises
    ------
    StreamError
        When the average is that of no whole number of iterations.
    """
    for n in (n_tokens, n_tokens + 1):
        iterations = n / average
        if (
            math.isfinite(iterations)
            and abs(iterations - round(iterations)) <= AVERAGE_ERROR * iterations
        ):
            return max(0, round(iterations) - 1)
    raise StreamError(
        "bad_counts", f"{n_tokens} tokens at {average} a step are no whole number of steps"
    )


def _counts(evidence: Evidence, told: _Spec | None) -> Counts:
    """Return the engine's own sums."""
    check = evidence.check
    if told is None:
        return Counts(steps=check.steps)
    histogram = told.acceptance_histogram
    return Counts(
        drafts=told.drafts,
        drafted=told.total_draft_tokens,
        accepted=told.total_accepted_draft_tokens,
        accepted_at=tuple(sum(histogram[i:]) for i in range(1, len(histogram))),
        steps=check.steps + check.undrafted,
    )
