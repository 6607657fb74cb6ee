"""llama.cpp's server: one event per token, and cumulative counts that tell the steps apart.

Wire facts as of llama.cpp 0c1e570, mid-2026 (tools/server/server-common.cpp, server-task.cpp):

- ``/completion`` takes token ids as ``prompt``; with ``return_tokens`` every event carries the id
  of its token, end-of-sequence included; the last message has ``stop`` true, no ``[DONE]`` follows;
- with ``timings_per_token`` every event carries ``timings``: ``predicted_n`` tokens so far, and
  ``draft_n`` and ``draft_n_accepted``, cumulative, absent until something was drafted.  Tokens of
  one step share ``predicted_ms``, so a step is told from the next exactly;
- near the token limit fewer tokens are drafted, never more than there is room for;
- ``/v1/chat/completions`` streams the same ``timings``, without ids.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from speedbench.engines.counters import Counters
from speedbench.engines.evidence import counted_step
from speedbench.engines.openai import Count, Message, completion_messages, json_of
from speedbench.engines.protocol import About, StreamError
from speedbench.records import (
    Chunk,
    ChunkCheck,
    Counts,
    Event,
    HttpCall,
    Request,
    Response,
    ServerCounts,
    Step,
)

STOPPED = {"eos": "stop", "word": "stop", "limit": "length"}
"""The usual words for llama.cpp's ``stop_type``."""


class LlamaCppEngine:
    """Token ids out (or messages), a token at a time in, with the engine's running counts."""

    name = "llama_cpp"
    takes_token_ids = True
    about_paths = ("/props",)
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
        body["messages"] = [{"role": role, "content": text} for role, text in request.messages]
        if request.template_args:
            body["chat_template_kwargs"] = request.template_args
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read tokens, and steps from the counts that change between them."""
        chunks: list[Chunk] = []
        groups: list[_Group] = []
        finish_reason, last = None, _Timings()
        for at_ns, message in completion_messages(events, _Message, is_last=_is_last):
            finish_reason = message.reason or finish_reason
            timings = message.timings
            if timings is None:
                if message.text:
                    chunks.append(Chunk(at_ns=at_ns, n_tokens=None, text=message.text))
                continue
            if new := timings.predicted_n - last.predicted_n:
                ids = message.tokens
                known = ids if len(ids) == new else None
                chunk = Chunk(at_ns=at_ns, n_tokens=new, token_ids=known, text=message.text)
                chunks.append(chunk)
                if not groups or timings.predicted_ms != last.predicted_ms:
                    groups.append(_Group(at_ns, 0, timings))
                groups[-1] = _Group(at_ns, groups[-1].emitted + new, timings)
            elif message.text:
                chunks.append(Chunk(at_ns=at_ns, n_tokens=0, token_ids=(), text=message.text))
            last = timings
        return _response(chunks, groups, last, finish_reason)

    def about(self, answers: Mapping[str, bytes]) -> About:
        """Read the build, the model's file and the context of one slot."""
        if "/props" not in answers:
            return About(engine=self.name)
        props = json_of(answers["/props"], _Props)
        return About(
            engine=self.name,
            version=props.build_info,
            model_path=props.model_path,
            max_context=props.default_generation_settings.n_ctx,
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
        return json_of(body, _Tokens).tokens


class _Timings(msgspec.Struct, frozen=True):
    predicted_n: Count = 0
    predicted_ms: float = 0.0
    draft_n: Count = 0
    draft_n_accepted: Count = 0
    prompt_n: Count = 0
    cache_n: Count = 0


class _Group(msgspec.Struct, frozen=True):
    """The tokens of one step: when the last came, how many, and the counts behind them."""

    at_ns: int
    emitted: int
    timings: _Timings


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
    timings: _Timings | None = None
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


class _Tokens(msgspec.Struct, frozen=True):
    tokens: tuple[Count, ...]


def _is_last(message: _Message) -> bool:
    return message.stop


def _response(
    chunks: Sequence[Chunk], groups: Sequence[_Group], last: _Timings, reason: str | None
) -> Response:
    """Put the answer together; the first group is the prefill's token."""
    steps = _steps(groups)
    told = bool(groups)
    counts = Counts(
        drafts=sum(bool(step.drafted) for step in steps),
        drafted=last.draft_n,
        accepted=last.draft_n_accepted,
        steps=len(steps),
    )
    return Response(
        chunks=tuple(chunks),
        steps=tuple(steps),
        tier="A" if told else "none",
        n_prefill_tokens=min(1, last.predicted_n) if told else None,
        n_input_tokens=last.prompt_n + last.cache_n if told else None,
        n_output_tokens=last.predicted_n if told else None,
        n_cached_tokens=last.cache_n if told else None,
        finish_reason=reason,
        counts=counts if told else None,
        chunk_check=_check(groups, steps) if told else None,
    )


def _steps(groups: Sequence[_Group]) -> list[Step]:
    if groups and groups[0].emitted != 1:
        raise StreamError("bad_counts", f"the prefill gave {groups[0].emitted} tokens, not one")
    steps: list[Step] = []
    for before, group in itertools.pairwise(groups):
        drafted = group.timings.draft_n - before.timings.draft_n
        accepted = group.timings.draft_n_accepted - before.timings.draft_n_accepted
        if not 0 <= accepted <= drafted or group.emitted > accepted + 1:
            raise StreamError(
                "bad_counts",
                f"step {len(steps)}: {group.emitted} tokens, accepted {accepted} of {drafted}",
            )
        steps.append(counted_step(group.at_ns, group.emitted, drafted, accepted))
    return steps


def _check(groups: Sequence[_Group], steps: Sequence[Step]) -> ChunkCheck:
    """Compare what each step emitted with what it accepted: one more, unless it was the last.

    A chunk is a token here, so what is held against the counts are the tokens that share a time.
    """
    cut = [step.truncated for step in steps]
    return ChunkCheck(
        chunks=max(0, len(groups) - 1),
        steps=sum(bool(step.drafted) for step in steps),
        undrafted=sum(not step.drafted for step in steps),
        cut=int(bool(cut) and cut[-1]),
        residual=sum(cut[:-1]),
    )
