"""TensorRT-LLM: token ids in and out, and how many tokens each iteration gave on average.

Wire facts as of TensorRT-LLM 1.2 (serve/openai_protocol.py, _torch/pyexecutor/sampler.py):

- ``/v1/completions`` takes token ids as ``prompt``; with ``detokenize`` false every chunk has its
  ids in ``choices[].token_ids``, and no text;
- ``choices[].avg_decoded_tokens_per_iter`` is all tokens over all iterations of the request, and
  the iteration that ends the prefill is one of them: decode steps are one less;
- records of ``/perf_metrics`` name a request by a number that its client is never told, so they
  cannot be joined to answers; the counters of ``/prometheus/metrics`` are for the whole server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from speedbench.engines.counters import Counters
from speedbench.engines.evidence import Evidence, steps_from_count
from speedbench.engines.openai import Count, Message, Usage, completion_messages, json_of
from speedbench.engines.protocol import About
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


class TensorRTLLMEngine:
    """Token ids out (or messages), token ids and an average in."""

    name = "tensorrt_llm"
    takes_token_ids = True
    about_paths = ("/version",)
    counts_path = "/prometheus/metrics"

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Say what an average cannot tell: this engine never names the length of its drafts."""
        return [
            "TensorRT-LLM tells how many steps a request took, and not how many tokens it drafted: "
            "acceptance length is exact, acceptance rates are unknown."
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
        body["messages"] = [{"role": role, "content": text} for role, text in request.messages]
        if request.template_args:
            body["chat_template_kwargs"] = request.template_args
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read chunks, and the number of steps from the last average."""
        chunks: list[Chunk] = []
        n_tokens, average, finish_reason, usage = 0, None, None, Usage()
        for at_ns, message in completion_messages(events, _Message):
            before = n_tokens
            if message.usage is not None:
                usage = message.usage
                n_tokens = max(before, usage.completion_tokens or 0)
            for choice in message.choices:
                finish_reason = choice.finish_reason or finish_reason
                average = choice.avg_decoded_tokens_per_iter or average
                growth = n_tokens - before if message.usage is not None else None
                if (chunk := _chunk(at_ns, choice, growth)) is not None:
                    chunks.append(chunk)
        told = _evidence(chunks, average)
        tier: Tier = told[0] if told is not None else "none"
        evidence = told[1] if told is not None else None
        return Response(
            chunks=tuple(chunks),
            steps=evidence.steps if evidence else (),
            tier=tier,
            n_prefill_tokens=min(1, usage.completion_tokens or 0) if evidence else None,
            n_input_tokens=usage.prompt_tokens,
            n_output_tokens=usage.completion_tokens,
            n_cached_tokens=usage.cached_tokens,
            finish_reason=finish_reason,
            counts=Counts(steps=evidence.check.steps) if evidence else None,
            chunk_check=evidence.check if evidence else None,
        )

    def about(self, answers: Mapping[str, bytes]) -> About:
        """Read the version, which is all that this server tells."""
        version = json_of(answers["/version"], _Version).version if "/version" in answers else None
        return About(engine=self.name, version=version)

    def server_counts(self, text: str) -> ServerCounts:
        """Sum the counters over positions; every draft has a first position."""
        page = Counters(text)
        spec = "trtllm_spec_decode"
        drafted = page.by_position(f"{spec}_drafted_tokens_total", "token_position")
        accepted = page.by_position(f"{spec}_accepted_tokens_total", "token_position")
        return ServerCounts(
            speculation=Counts(
                drafts=next((n for n in drafted or () if n), None),
                drafted=None if drafted is None else sum(drafted),
                accepted=None if accepted is None else sum(accepted),
            )
        )


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    text: str | None = None
    delta: _Delta = _Delta()
    token_ids: tuple[Count, ...] | None = None
    finish_reason: str | None = None
    avg_decoded_tokens_per_iter: float | None = None


class _Message(Message, frozen=True, kw_only=True):
    choices: tuple[_Choice, ...] = ()


class _Version(msgspec.Struct, frozen=True):
    version: str | None = None


def _chunk(at_ns: int, choice: _Choice, growth: int | None) -> Chunk | None:
    parts = (choice.text, choice.delta.reasoning_content, choice.delta.content)
    text = "".join(part for part in parts if part)
    ids = choice.token_ids
    n_tokens = growth if ids is None else len(ids)
    if not n_tokens and not text:
        return None
    return Chunk(at_ns=at_ns, n_tokens=n_tokens, token_ids=ids, text=text)


def _evidence(chunks: Sequence[Chunk], average: float | None) -> tuple[Tier, Evidence] | None:
    """Return the steps, if their number is told and every chunk's tokens are."""
    if not average or any(chunk.n_tokens is None for chunk in chunks):
        return None
    lengths = [chunk.n_tokens or 0 for chunk in chunks]
    n_steps = max(0, round(sum(lengths) / average) - 1)
    evidence = steps_from_count(chunks, n_steps, None)
    return ("C" if evidence.check.passed else "B"), evidence
