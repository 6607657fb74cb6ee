"""The embedded engine: OpenVINO GenAI in a process of its own, on the demo pair.

The client side of it: how a request is written and how the recorded bytes are read.  Each chunk is
what one engine iteration emitted for one request, so chunks are steps by construction (tier A),
except that prompt lookup does not tell how many tokens were drafted: acceptance length is exact
there, acceptance rates are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from speedbench.engines.openai import completion_messages
from speedbench.engines.protocol import StreamError
from speedbench.records import Chunk, Event, HttpCall, Request, Response, Step


class EmbeddedEngine:
    """Token ids out, token ids and engine iterations in."""

    name = "embedded"
    takes_token_ids = True

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return the completion call; see `speedbench.engines.embedded.server` for its shape."""
        sampling = request.sampling
        body = {
            "model": model,
            "prompt": request.input_ids,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": sampling.seed,
            "stream": True,
        }
        return HttpCall(path="/v1/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Turn every chunk after the prefill's into the decode step that it is."""
        chunks: list[Chunk] = []
        steps: list[Step] = []
        finish_reason = None
        usage: dict[str, Any] = {}
        for at_ns, payload in completion_messages(events):
            usage = payload.get("usage") or usage
            for choice in payload["choices"]:
                ids = tuple(choice["token_ids"])
                finish_reason = choice["finish_reason"]
                if chunks and ids:
                    steps.append(_step(payload["speedbench"], len(ids), finish_reason))
                if ids:
                    text = choice["text"]
                    chunk = Chunk(at_ns=at_ns, n_tokens=len(ids), token_ids=ids, text=text)
                    chunks.append(chunk)
        if finish_reason not in ("stop", "length"):
            raise StreamError("engine_stopped", f"the engine ended the request: {finish_reason}")
        return Response(
            chunks=tuple(chunks),
            steps=tuple(steps),
            tier="A",
            n_prefill_tokens=chunks[0].n_tokens if chunks else 0,
            n_input_tokens=usage.get("prompt_tokens"),
            n_output_tokens=usage.get("completion_tokens"),
            finish_reason=finish_reason,
        )


def _step(iteration: dict[str, Any], emitted: int, finish_reason: str | None) -> Step:
    """Read one decode step.

    A step that ends with end-of-sequence is cut: its last token may be an accepted draft or the
    verifier's own, so only the positions before it were observed.  Not so when the step is full,
    and not at the token limit, because the engine drafts one token less than there is room for.
    """
    drafted = iteration["drafted"]
    cut = finish_reason == "stop" and (drafted is None or emitted <= drafted)
    known = drafted is not None
    return Step(
        ended_ns=iteration["ended_ns"],
        emitted=emitted,
        drafted=drafted,
        accepted=emitted - 1 if known else None,
        observed=(emitted - 1 if cut else drafted) if known else None,
        truncated=cut,
        seconds=iteration["seconds"],
        mixed=iteration["mixed"],
        batch=iteration["batch"],
    )
