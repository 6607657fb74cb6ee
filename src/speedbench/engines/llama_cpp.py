"""llama.cpp's server: one event per token, and cumulative counts that tell the steps apart.

Wire facts as of llama.cpp 0c1e570, mid-2026 (tools/server/server-context.cpp, server-common.cpp,
server-task.cpp):

- ``/completion`` takes token ids as ``prompt``; with ``return_tokens`` every event carries the id
  of its token, end-of-sequence included; the last message has ``stop`` true, no ``[DONE]`` follows;
- with ``timings_per_token`` every event carries ``timings``: ``predicted_n`` tokens so far, and
  ``draft_n`` and ``draft_n_accepted``, cumulative, absent until something was drafted.  Tokens of
  one step share ``predicted_ms``, so a step is told from the next exactly;
- ``draft_n`` grows before a draft is verified, ``draft_n_accepted`` after it and before any cut: a
  rejected draft counts as drafted, and tokens behind an end-of-sequence as accepted;
- near the token limit fewer tokens are drafted, never more than there is room for, so the limit
  cuts no step; a step in which neither count changes had no draft;
- the token of the prefill is an event of its own, and never drafted;
- a token that ends within a character is held back: the next event counts both, and has the id of
  the last alone.  ``/v1/chat/completions`` streams the same ``timings``, without ids, and holds
  back whatever has no text yet, end-of-sequence too;
- a model whose memory cannot be cut (recurrent, hybrid) goes back to a checkpoint after a rejection
  and reads the accepted tokens again: two passes, whose tokens come at once, one more than usual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from speedbench.engines.counters import Counters
from speedbench.engines.llama_steps import (
    Group,
    Timings,
    Token,
    after_prefill,
    check_of,
    counts_of,
    groups_of,
    steps_of,
)
from speedbench.engines.openai import (
    Count,
    Message,
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
)

STOPPED = {"eos": "stop", "word": "stop", "limit": "length"}
"""The usual words for llama.cpp's ``stop_type``."""


class LlamaCppEngine:
    """Token ids out (or messages), a token at a time in, with the engine's running counts."""

    name = "llama_cpp"
    takes_token_ids = True
    about_paths = ("/props", "/slots")
    counts_path = "/metrics"

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Return nothing: each answer says what it is."""
        return []

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return a completion of ids, or a chat completion of messages where there are none."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "temperature": sampling.temperature,
            "frequency_penalty": sampling.frequency_penalty,
            "seed": sampling.seed,
            "stream": True,
            "timings_per_token": True,
            "cache_prompt": False,  # or a second run would be warmer than the first
        }
        if request.input_ids is not None:
            body |= {"prompt": request.input_ids, "n_predict": sampling.max_tokens}
            body["return_tokens"] = True
            return HttpCall(path="/completion", body=msgspec.json.encode(body))
        body |= {"model": model, "max_tokens": sampling.max_tokens}
        body |= conversation(request)
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read tokens, and steps from the counts that change between them."""
        chunks: list[Chunk] = []
        tokens: list[Token] = []
        finish_reason, last, told = None, Timings(), True
        for at_ns, message in completion_messages(events, _Message, is_last=_is_last):
            finish_reason = message.reason or finish_reason
            ids, text, timings = message.tokens, message.text, message.timings
            if timings is None:
                if ids or text:  # a server that counts only at the end
                    told = False
                    chunks.append(_uncounted(at_ns, ids, text))
                continue
            new = timings.predicted_n - last.predicted_n
            if new < 0 or timings.predicted_n > request.sampling.max_tokens:
                raise StreamError(
                    "bad_counts",
                    f"{last.predicted_n} tokens became {timings.predicted_n}, of at most "
                    f"{request.sampling.max_tokens} asked for",
                )
            if told and (new or text):
                known = ids if len(ids) == new else None
                chunks.append(Chunk(at_ns=at_ns, n_tokens=new, token_ids=known, text=text))
            if told and new:
                tokens.append(Token(at_ns, new, timings))
            last = timings
        return _response(
            chunks, groups_of(tokens), last, finish_reason, told=told and last.n_input > 0
        )

    def about(self, answers: Mapping[str, bytes]) -> About:
        """Read the build, the model's file, the context of one slot, and whether it speculates."""
        props = json_of(answers.get("/props", b"{}"), _Props)
        slot = json_of(answers.get("/slots", b"[]"), _Slots).first
        return About(
            engine=self.name,
            version=props.build_info,
            model_path=props.model_path,
            max_context=props.default_generation_settings.n_ctx,
            speculates=slot.speculative,
            flags={"slots": props.total_slots, "weights": props.model_ftype},
        )

    def server_counts(self, text: str) -> ServerCounts:
        """Read the counters of ``/metrics`` (server flag ``--metrics``)."""
        page = Counters(text)
        spec = "llamacpp:spec_decode_num_"
        return ServerCounts(
            speculation=Counts(
                drafts=page.total(f"{spec}drafts_total"),
                drafted=page.total(f"{spec}draft_tokens_total"),
                accepted=page.total(f"{spec}accepted_tokens_total"),
                accepted_at=page.by_position(f"{spec}accepted_tokens_per_pos_total", "position"),
            ),
            cached_tokens=page.total("llamacpp:prompt_tokens_cached_total"),
        )

    def tokenize_request(self, text: str, *, model: str) -> HttpCall:
        """Return the call of ``/tokenize``."""
        body = {"content": text, "add_special": False, "parse_special": True}
        return HttpCall(path="/tokenize", body=msgspec.json.encode(body))

    def token_ids(self, body: bytes) -> tuple[int, ...]:
        """Read the answer of ``/tokenize``."""
        return tokens_of(body)


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Message(Message, frozen=True, kw_only=True):
    content: str = ""
    tokens: tuple[Count, ...] = ()
    stop: bool = False
    stop_type: str | None = None
    timings: Timings | None = None
    choices: tuple[_Choice, ...] = ()

    @property
    def text(self) -> str:
        """The text, of either route."""
        parts = [
            part for c in self.choices for part in (c.delta.reasoning_content, c.delta.content)
        ]
        return self.content + "".join(part for part in parts if part)

    @property
    def reason(self) -> str | None:
        """Why the answer ended, if this message says so."""
        for choice in self.choices:
            if choice.finish_reason:
                return choice.finish_reason
        return STOPPED.get(self.stop_type or "", self.stop_type) if self.stop else None


class _Settings(msgspec.Struct, frozen=True):
    n_ctx: int | None = None


class _Props(msgspec.Struct, frozen=True):
    build_info: str | None = None
    model_path: str | None = None
    model_ftype: str | None = None
    total_slots: int | None = None
    default_generation_settings: _Settings = _Settings()


class _Slot(msgspec.Struct, frozen=True):
    speculative: bool | None = None


class _Slots(msgspec.Struct, frozen=True, array_like=True):
    first: _Slot = _Slot()


def _is_last(message: _Message) -> bool:
    return message.stop


def _uncounted(at_ns: int, ids: tuple[int, ...], text: str) -> Chunk:
    return Chunk(at_ns=at_ns, n_tokens=len(ids) or None, token_ids=ids or None, text=text)


def _response(
    chunks: Sequence[Chunk],
    groups: Sequence[Group],
    last: Timings,
    reason: str | None,
    *,
    told: bool,
) -> Response:
    """Put the answer together; the first token is the prefill's."""
    decode = after_prefill(groups)
    steps = [
        step
        for number, group in enumerate(decode, start=1)
        for step in steps_of(group, ends_answer=number == len(decode))
    ]
    return Response(
        chunks=tuple(chunks),
        steps=tuple(steps),
        tier="A" if told else "none",
        n_prefill_tokens=min(1, last.predicted_n) if told else None,
        n_input_tokens=last.n_input if last.n_input else None,
        n_output_tokens=last.predicted_n if last.n_input else None,
        n_cached_tokens=last.cache_n if last.n_input else None,
        finish_reason=reason,
        counts=counts_of(last, steps) if told else None,
        chunk_check=check_of(groups, decode, steps) if told else None,
    )
