"""vLLM: token ids in and out, and the engine's own account of every draft.

Wire facts as of vLLM 0.32 and 0.33:

- ``/v1/completions`` takes token ids as ``prompt``, and ``return_token_ids`` puts the ids of each
  chunk into ``choices[].token_ids``; so does ``/v1/chat/completions`` (messages);
- with the server flag ``--per-request-spec-decode-metrics detailed`` the usage chunk carries
  ``metrics.speculative_decoding`` with ordered counts of the steps that had a draft, ``summary``
  only their histogram (entrypoints/generate/base/protocol.py); accepted counts precede any cut;
- ``/metrics``: counters per engine of the data-parallel group (v1/spec_decode/metrics.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from speedbench.engines.counters import Counters
from speedbench.engines.evidence import Evidence, steps_from_histogram, steps_from_lists
from speedbench.engines.openai import (
    Count,
    Message,
    Usage,
    completion_messages,
    conversation,
    json_of,
    tokens_of,
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


class VLLMEngine:
    """Token ids out (or messages), token ids and per-step counts in."""

    name = "vllm"
    takes_token_ids = True
    about_paths = ("/version", "/v1/models")
    counts_path = "/metrics"

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Return nothing: each answer says what it is."""
        return []

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
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        if request.input_ids is not None:
            body["prompt"] = request.input_ids
            return HttpCall(path="/v1/completions", body=msgspec.json.encode(body))
        body |= conversation(request)
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read chunks and, from the last message, what was drafted and accepted."""
        chunks: list[Chunk] = []
        finish_reason, usage, told, prompt_ids = None, Usage(), None, None
        for at_ns, message in completion_messages(events, _Message):
            usage = message.usage or usage
            told = (message.metrics and message.metrics.speculative_decoding) or told
            prompt_ids = message.prompt_token_ids or prompt_ids
            for choice in message.choices:
                prompt_ids = choice.prompt_token_ids or prompt_ids
                finish_reason = choice.finish_reason or finish_reason
                if (chunk := _chunk(at_ns, choice)) is not None:
                    chunks.append(chunk)
        _same_input(request, prompt_ids)
        counted = all(chunk.n_tokens is not None for chunk in chunks)
        tier, evidence = _evidence(chunks, told) if counted and told else (None, None)
        return Response(
            chunks=tuple(chunks),
            steps=evidence.steps if evidence else (),
            tier=tier or "none",
            n_prefill_tokens=min(1, usage.completion_tokens or 0) if evidence else None,
            n_input_tokens=usage.prompt_tokens,
            n_output_tokens=usage.completion_tokens,
            n_cached_tokens=usage.cached_tokens,
            finish_reason=finish_reason,
            counts=told.counts if told else None,
            chunk_check=evidence.check if evidence else None,
        )

    def about(self, answers: Mapping[str, bytes]) -> About:
        """Read the version and the model's directory or hub name."""
        version = json_of(answers["/version"], _Version).version if "/version" in answers else None
        models = json_of(answers.get("/v1/models", b'{"data": []}'), _Models).data
        first = models[0] if models else _Model()
        return About(
            engine=self.name,
            version=version,
            model_path=first.root,
            max_context=first.max_model_len,
        )

    def server_counts(self, text: str) -> ServerCounts:
        """Sum the counters over the engines of a data-parallel group."""
        page = Counters(text)
        spec = "vllm:spec_decode_num_"
        return ServerCounts(
            speculation=Counts(
                drafts=page.total(f"{spec}drafts_total"),
                drafted=page.total(f"{spec}draft_tokens_total"),
                accepted=page.total(f"{spec}accepted_tokens_total"),
                accepted_at=page.by_position(f"{spec}accepted_tokens_per_pos_total", "position"),
            ),
            cached_tokens=page.total("vllm:prefix_cache_hits_total"),
        )

    def tokenize_request(self, text: str, *, model: str) -> HttpCall:
        """Return the call of ``/tokenize``."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        return HttpCall(path="/tokenize", body=msgspec.json.encode(body))

    def token_ids(self, body: bytes) -> tuple[int, ...]:
        """Read the answer of ``/tokenize``."""
        return tokens_of(body)


class _Spec(msgspec.Struct, frozen=True):
    acceptance_histogram: tuple[Count, ...]
    num_draft_tokens: Count
    num_spec_tokens: Count
    per_step_accepted: tuple[Count, ...] | None = None
    per_step_drafted: tuple[Count, ...] | None = None

    @property
    def counts(self) -> Counts:
        """The engine's own sums."""
        histogram = self.acceptance_histogram
        at_least = [sum(histogram[i:]) for i in range(1, len(histogram))]
        return Counts(
            drafts=sum(histogram),
            drafted=self.num_draft_tokens,
            accepted=sum(at_least),
            accepted_at=tuple(at_least),
        )


class _Metrics(msgspec.Struct, frozen=True):
    speculative_decoding: _Spec | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None  # its name before 0.12


class _Choice(msgspec.Struct, frozen=True):
    text: str | None = None
    delta: _Delta | None = None
    token_ids: tuple[Count, ...] | None = None
    prompt_token_ids: tuple[Count, ...] | None = None
    finish_reason: str | None = None


class _Message(Message, frozen=True, kw_only=True):
    choices: tuple[_Choice, ...] = ()
    metrics: _Metrics | None = None
    prompt_token_ids: tuple[Count, ...] | None = None


class _Version(msgspec.Struct, frozen=True):
    version: str


class _Model(msgspec.Struct, frozen=True):
    root: str | None = None
    max_model_len: int | None = None


class _Models(msgspec.Struct, frozen=True):
    data: tuple[_Model, ...]


def _chunk(at_ns: int, choice: _Choice) -> Chunk | None:
    """Return the chunk of a choice; None where it holds neither text nor tokens."""
    delta = choice.delta or _Delta()
    parts = (choice.text, delta.reasoning, delta.reasoning_content, delta.content)
    text = "".join(part for part in parts if part)
    ids = choice.token_ids
    if not ids and not text:
        return None
    # A chunk whose ids are not told, though others are, holds text that was held back: no token.
    return Chunk(at_ns=at_ns, n_tokens=None if ids is None else len(ids), token_ids=ids, text=text)


def _evidence(chunks: Sequence[Chunk], told: _Spec) -> tuple[Tier, Evidence]:
    """Return the best evidence that the engine's account allows, and its tier."""
    drafted, accepted = told.per_step_drafted, told.per_step_accepted
    if drafted is not None and accepted is not None:
        return "A", steps_from_lists(chunks, drafted, accepted)
    if not any(told.acceptance_histogram):
        return "A", steps_from_lists(chunks, (), ())
    constant = told.num_draft_tokens == told.num_spec_tokens * sum(told.acceptance_histogram)
    length = told.num_spec_tokens if constant else None
    evidence = steps_from_histogram(chunks, told.acceptance_histogram, length)
    return ("C" if evidence.check.passed else "B"), evidence


def _same_input(request: Request, prompt_ids: tuple[int, ...] | None) -> None:
    """Refuse an answer to another sequence than the one that was sent."""
    if request.input_ids is None or prompt_ids is None or prompt_ids == request.input_ids:
        return
    raise StreamError(
        "other_input",
        f"the engine read {len(prompt_ids)} token ids, and {len(request.input_ids)} others were "
        "sent: it changed the input",
    )
