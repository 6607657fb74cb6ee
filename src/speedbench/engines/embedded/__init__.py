"""The embedded engine: OpenVINO GenAI in a process of its own, on the demo pair.

The client side of it: how a request is written and how the recorded bytes are read.  Each chunk is
what one engine iteration emitted for one request, so chunks are steps by construction (tier A),
except that prompt lookup does not tell how many tokens were drafted: acceptance length is exact
there, acceptance rates are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from speedbench.engines.openai import Count, Message, Usage, completion_messages
from speedbench.engines.protocol import StreamError
from speedbench.records import Chunk, Event, HttpCall, Request, Response, Step

DEMO_PAIR = (
    "Measured on the demo pair, a toy that ships with speedbench: the figures show how speculative "
    "decoding behaves, and say nothing about any real model."
)
# sampler.cpp, validate_candidate, OpenVINO GenAI 2026.4: the drafted token's draft probability is
# held against the target's probability of a token that the target sampled for itself.
NOT_LOSSLESS = (
    "At temperature > 0 OpenVINO GenAI 2026.4 accepts drafted tokens by a rule that changes the "
    "target's distribution: acceptance and speedup of draft_model are not a lossless engine's."
)


class EmbeddedEngine:
    """Token ids out, token ids and engine iterations in."""

    name = "embedded"
    takes_token_ids = True

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Say that the models are toys, and where this engine's speculation is not lossless."""
        said = [DEMO_PAIR]
        sampled = config["sampling"]["temperature"] > 0
        if sampled and config["engine"]["method"] == "draft_model":
            said.append(NOT_LOSSLESS)
        return said

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return the completion call; see `speedbench.engines.embedded.server` for its shape."""
        sampling = request.sampling
        body = {
            "model": model,
            "prompt": request.input_ids,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "frequency_penalty": sampling.frequency_penalty,
            "seed": sampling.seed,
            "stream": True,
        }
        return HttpCall(path="/v1/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Turn every chunk after the prefill's into the decode step that it is."""
        chunks: list[Chunk] = []
        steps: list[Step] = []
        finish_reason = None
        usage = Usage()
        for at_ns, message in completion_messages(events, _Message):
            usage = message.usage or usage
            for choice in message.choices:
                ids, finish_reason = choice.token_ids, choice.finish_reason
                if not ids:
                    continue
                if chunks:
                    steps.append(_step(message.speedbench, len(ids), finish_reason))
                chunks.append(
                    Chunk(at_ns=at_ns, n_tokens=len(ids), token_ids=ids, text=choice.text)
                )
        if finish_reason not in ("stop", "length"):
            raise StreamError("engine_stopped", f"the engine ended the request: {finish_reason}")
        return Response(
            chunks=tuple(chunks),
            steps=tuple(steps),
            tier="A",
            n_prefill_tokens=chunks[0].n_tokens if chunks else 0,
            n_input_tokens=usage.prompt_tokens,
            n_output_tokens=usage.completion_tokens,
            finish_reason=finish_reason,
        )


class _Iteration(msgspec.Struct, frozen=True):
    ended_ns: Count
    seconds: float
    mixed: bool
    batch: Count
    drafted: Count | None


class _Choice(msgspec.Struct, frozen=True):
    text: str
    token_ids: tuple[Count, ...]
    finish_reason: str | None


class _Message(Message, frozen=True, kw_only=True):
    choices: tuple[_Choice, ...]
    speedbench: _Iteration | None = None


def _step(iteration: _Iteration | None, emitted: int, finish_reason: str | None) -> Step:
    """Read one decode step.

    A step that ends with end-of-sequence is cut: its last token may be an accepted draft or the
    verifier's own, so only the positions before it were observed.  Not so when the step is full,
    and not at the token limit, because the engine drafts one token less than there is room for.
    """
    if iteration is None:
        raise StreamError("bad_shape", "a chunk with tokens does not say which iteration it is of")
    drafted = iteration.drafted
    cut = finish_reason == "stop" and (drafted is None or emitted <= drafted)
    known = drafted is not None
    return Step(
        ended_ns=iteration.ended_ns,
        emitted=emitted,
        drafted=drafted,
        accepted=emitted - 1 if known else None,
        observed=(emitted - 1 if cut else drafted) if known else None,
        truncated=cut,
        seconds=iteration.seconds,
        mixed=iteration.mixed,
        batch=iteration.batch,
    )
