"""SGLang: token ids in and out, a histogram of accepted drafts at the end.

Wire facts as of SGLang 0.5.23 (managers/tokenizer_manager.py, entrypoints/openai/serving_chat.py,
managers/scheduler_components/):

- ``/generate`` takes ``input_ids``; each message has ``output_ids``, cumulative, or only the new
  ones with the server flag ``--incremental-streaming-output``; ``meta_info.completion_tokens``
  counts them either way; where the client is behind, only the newest message is kept (or several
  are put together), and text that may begin a stop string is held back;
- the last message's ``meta_info`` has ``spec_verify_ct`` (decode steps) and, under names that have
  changed (0.5.6, 0.5.11, 0.5.12), drafts proposed, drafts accepted ("correct": without the
  verifier's token) and a histogram, all before any cut; an answer that ended with its first token
  has none of it;
- drafts proposed are steps times the drafts of one step: nodes of a tree, where drafts branch,
  which no answer tells (`about` does);
- on the OpenAI route ``return_spec_tokens_details`` puts the same into ``sglext``, and running
  usage counts the tokens of a chunk; tokens without text are first counted in the usage at the
  end;
- the gauges of ``/metrics`` are averages over the server's lifetime, and of no use here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from speedbench.engines.openai import (
    Count,
    completion_messages,
    conversation,
    json_of,
    tokens_of,
)
from speedbench.engines.protocol import About
from speedbench.engines.sglang_answer import SGLangAnswer, SGLangMessage
from speedbench.records import Event, HttpCall, Request, Response


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
            **conversation(request),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "frequency_penalty": sampling.frequency_penalty,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "return_spec_tokens_details": True,
        }
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read chunks and, from the last message, how many drafts each step accepted."""
        answer = SGLangAnswer(request.sampling.max_tokens)
        for at_ns, message in completion_messages(events, SGLangMessage):
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
            draft_length=info.draft_length,
            drafter=info.speculative_draft_model_path,
            tree=info.branches,
            flags={name: value for name, value in msgspec.structs.asdict(info).items() if value},
        )

    def tokenize_request(self, text: str, *, model: str) -> HttpCall:
        """Return the call of ``/tokenize``."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        return HttpCall(path="/tokenize", body=msgspec.json.encode(body))

    def token_ids(self, body: bytes) -> tuple[int, ...]:
        """Read the answer of ``/tokenize``."""
        return tokens_of(body)


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

    @property
    def branches(self) -> bool:
        """Whether drafts are trees; for ngram the server sets this to the breadth of its search."""
        return (self.speculative_eagle_topk or 1) > 1

    @property
    def draft_length(self) -> int | None:
        """The longest chain of drafts; the tokens that are verified include the last accepted."""
        if self.branches or self.speculative_num_draft_tokens is None:
            return self.speculative_num_steps
        return self.speculative_num_draft_tokens - 1


class _Tokens(msgspec.Struct, frozen=True):
    tokens: tuple[Count, ...]
