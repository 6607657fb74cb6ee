"""SGLang: token ids in and out, a histogram of accepted drafts at the end.

Wire facts as of SGLang 0.5.23 (managers/io_struct.py, managers/tokenizer_manager.py,
entrypoints/openai/protocol.py):

- ``/generate`` takes ``input_ids``; each message has ``output_ids``, cumulative, or only the new
  ones with the server flag ``--incremental-streaming-output``; ``meta_info.completion_tokens``
  counts them either way; where the client is behind, only the newest message is kept;
- the last message's ``meta_info`` has ``spec_verify_ct`` (steps) and, under names that have
  changed, drafts proposed, drafts accepted ("correct": without the verifier's token), a histogram;
- on the OpenAI route ``return_spec_tokens_details`` puts the same into ``sglext``;
- the gauges of ``/metrics`` are averages over the server's lifetime, and of no use here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from speedbench.engines.evidence import Evidence, steps_from_count, steps_from_histogram
from speedbench.engines.openai import Count, Message, Usage, completion_messages, json_of
from speedbench.engines.protocol import About, StreamError
from speedbench.records import Chunk, Counts, Event, HttpCall, Request, Response, Tier


class SGLangEngine:
    """Token ids out (or messages), token ids and a histogram in."""

    name = "sglang"
    takes_token_ids = True
    about_paths = ("/server_info", "/get_server_info")

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Return nothing: each answer says what it is."""
        return []

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return a generation from ids, or a chat completion of messages where there are none."""
        sampling = request.sampling
        if request.input_ids is not None:
            params: dict[str, Any] = {
                "max_new_tokens": sampling.max_tokens,
                "temperature": sampling.temperature,
                "frequency_penalty": sampling.frequency_penalty,
            }
            if sampling.temperature > 0:
                params["sampling_seed"] = sampling.seed
            body = {"input_ids": request.input_ids, "sampling_params": params, "stream": True}
            return HttpCall(path="/generate", body=msgspec.json.encode(body))
        body = {
            "model": model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "frequency_penalty": sampling.frequency_penalty,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "return_spec_tokens_details": True,
        }
        if request.template_args:
            body["chat_template_kwargs"] = request.template_args
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read chunks and, from the last message, how many drafts each step accepted."""
        answer = _Answer()
        for at_ns, message in completion_messages(events, _Message):
            if message.meta_info is not None:
                answer.native(at_ns, message, message.meta_info)
            else:
                answer.compatible(at_ns, message)
        return answer.response()

    def about(self, answers: Mapping[str, bytes]) -> About:
        """Read the server's arguments; both names of the path have been in use."""
        body = answers.get("/server_info") or answers.get("/get_server_info")
        if body is None:
            return About(engine=self.name)
        info = json_of(body, _Info)
        return About(
            engine=self.name,
            version=info.version,
            model_path=info.model_path,
            max_context=info.context_length,
            speculates=bool(info.speculative_algorithm),
            method=info.speculative_algorithm,
            draft_length=info.speculative_num_steps,
            drafter=info.speculative_draft_model_path,
            tree=(info.speculative_eagle_topk or 1) > 1,
            flags={name: value for name, value in msgspec.structs.asdict(info).items() if value},
        )

    def tokenize_request(self, text: str, *, model: str) -> HttpCall:
        """Return the call of ``/tokenize``."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        return HttpCall(path="/tokenize", body=msgspec.json.encode(body))

    def token_ids(self, body: bytes) -> tuple[int, ...]:
        """Read the answer of ``/tokenize``."""
        return json_of(body, _Tokens).tokens


class _Spec(msgspec.Struct, frozen=True):
    """What is told of speculation, under every name it has had."""

    spec_verify_ct: Count | None = None
    spec_correct_drafts_histogram: tuple[Count, ...] | None = None
    spec_accept_histogram: tuple[Count, ...] | None = None  # before 0.5.12
    spec_num_correct_drafts: Count | None = None
    spec_accept_token_num: Count | None = None  # before 0.5.12
    spec_num_proposed_drafts: Count | None = None
    spec_draft_token_num: Count | None = None  # before 0.5.12

    @property
    def histogram(self) -> tuple[int, ...]:
        """Steps by how many drafts they accepted."""
        return self.spec_correct_drafts_histogram or self.spec_accept_histogram or ()

    @property
    def accepted(self) -> int | None:
        """Drafts accepted."""
        known = self.spec_num_correct_drafts
        return self.spec_accept_token_num if known is None else known

    @property
    def proposed(self) -> int | None:
        """Drafts proposed."""
        known = self.spec_num_proposed_drafts
        return self.spec_draft_token_num if known is None else known


class _Finish(msgspec.Struct, frozen=True):
    type: str
    message: str | None = None


class _Meta(_Spec, frozen=True, kw_only=True):
    completion_tokens: Count = 0
    prompt_tokens: Count | None = None
    cached_tokens: Count | None = None
    finish_reason: _Finish | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Extension(msgspec.Struct, frozen=True):
    spec_tokens_details: _Spec | None = None


class _Message(Message, frozen=True, kw_only=True):
    text: str | None = None
    output_ids: tuple[Count, ...] | None = None
    meta_info: _Meta | None = None
    choices: tuple[_Choice, ...] = ()
    sglext: _Extension | None = None


class _Info(msgspec.Struct, frozen=True):
    version: str | None = None
    model_path: str | None = None
    context_length: int | None = None
    speculative_algorithm: str | None = None
    speculative_num_steps: int | None = None
    speculative_eagle_topk: int | None = None
    speculative_num_draft_tokens: int | None = None
    speculative_draft_model_path: str | None = None
    disable_radix_cache: bool | None = None
    stream_interval: int | None = None
    tp_size: int | None = None
    dp_size: int | None = None
    dtype: str | None = None
    quantization: str | None = None


class _Tokens(msgspec.Struct, frozen=True):
    tokens: tuple[Count, ...]


class _Answer:
    """An answer as it is put together, message by message."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.ids: list[int] = []
        self.text = ""
        self.n_tokens = 0
        self.usage = Usage()
        self.cached: int | None = None
        self.spec = _Spec()
        self.finish_reason: str | None = None

    def native(self, at_ns: int, message: _Message, meta: _Meta) -> None:
        """Take a message of ``/generate``."""
        new = meta.completion_tokens - self.n_tokens
        ids, cumulative = self._new_ids(message.output_ids, meta.completion_tokens)
        text = message.text or ""
        if cumulative and text.startswith(self.text):
            self.text, text = text, text[len(self.text) :]
        if new or text:
            self.chunks.append(Chunk(at_ns=at_ns, n_tokens=new, token_ids=ids, text=text))
        self.n_tokens = meta.completion_tokens
        self.usage = Usage(meta.prompt_tokens, meta.completion_tokens)
        self.cached = meta.cached_tokens if meta.cached_tokens is not None else self.cached
        if meta.spec_verify_ct is not None:
            self.spec = meta
        if meta.finish_reason is not None:
            self.finish_reason = meta.finish_reason.type
            if self.finish_reason == "abort":
                detail = meta.finish_reason.message or "no reason given"
                raise StreamError("engine_stopped", f"the engine aborted the request: {detail}")

    def _new_ids(
        self, ids: tuple[int, ...] | None, n_total: int
    ) -> tuple[tuple[int, ...] | None, bool]:
        """Return what ids a message adds, and whether its lists hold all ids so far.

        The two kinds of server cannot be confused: a list as long as the count so far is a
        cumulative one, one as long as the growth is not, and only in the first message are they
        the same.
        """
        if ids is None:
            return None, True
        before = len(self.ids)
        if len(ids) == n_total and list(ids[:before]) == self.ids:
            new, cumulative = ids[before:], True
        elif before + len(ids) == n_total:
            new, cumulative = ids, False
        else:
            raise StreamError(
                "lost_tokens",
                f"{n_total} tokens are counted, {before} were there and a message has {len(ids)}",
            )
        self.ids += new
        return new, cumulative

    def compatible(self, at_ns: int, message: _Message) -> None:
        """Take a message of the OpenAI route, where running usage counts the tokens of a chunk."""
        before = self.n_tokens
        counted = message.usage is not None and message.usage.completion_tokens is not None
        if message.usage is not None:
            self.usage = message.usage
            self.n_tokens = max(before, message.usage.completion_tokens or 0)
            self.cached = message.usage.cached_tokens
        if message.sglext is not None and message.sglext.spec_tokens_details is not None:
            self.spec = message.sglext.spec_tokens_details
        for choice in message.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            parts = (choice.delta.reasoning_content, choice.delta.content)
            text = "".join(part for part in parts if part)
            new = self.n_tokens - before if counted else None
            if text or new:
                self.chunks.append(Chunk(at_ns=at_ns, n_tokens=new, text=text))

    def response(self) -> Response:
        """Return the answer with the best evidence that it allows."""
        told = self._evidence()
        tier: Tier = told[0] if told is not None else "none"
        evidence = told[1] if told is not None else None
        return Response(
            chunks=tuple(self.chunks),
            steps=evidence.steps if evidence else (),
            tier=tier,
            n_prefill_tokens=min(1, self.n_tokens) if evidence else None,
            n_input_tokens=self.usage.prompt_tokens,
            n_output_tokens=self.usage.completion_tokens,
            n_cached_tokens=self.cached,
            finish_reason=self.finish_reason,
            counts=self._counts(),
            chunk_check=evidence.check if evidence else None,
        )

    def _counts(self) -> Counts | None:
        spec = self.spec
        if spec.spec_verify_ct is None:
            return None
        histogram = spec.histogram
        at_least = tuple(sum(histogram[i:]) for i in range(1, len(histogram)))
        return Counts(
            drafts=spec.spec_verify_ct,
            drafted=spec.proposed,
            accepted=spec.accepted,
            accepted_at=at_least or None,
            steps=spec.spec_verify_ct,
        )

    def _evidence(self) -> tuple[Tier, Evidence] | None:
        spec, n_steps = self.spec, self.spec.spec_verify_ct
        if n_steps is None or any(chunk.n_tokens is None for chunk in self.chunks):
            return None
        length = None
        if spec.proposed is not None and n_steps and spec.proposed % n_steps == 0:
            length = spec.proposed // n_steps
        if sum(spec.histogram) == n_steps:
            evidence = steps_from_histogram(self.chunks, spec.histogram, length)
        else:
            evidence = steps_from_count(self.chunks, n_steps, length)
        return ("C" if evidence.check.passed else "B"), evidence
