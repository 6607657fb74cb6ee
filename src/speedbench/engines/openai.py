"""Any OpenAI-compatible server, through ``/v1/chat/completions``.

Text chunks carry no evidence about speculation, so no acceptance figure is ever claimed here
(tier none).  Shapes: OpenAI API reference for chat completions streaming, and the ``usage`` chunk
of ``stream_options.include_usage``, as vLLM 0.33 and llama.cpp (mid-2026) send them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from speedbench.engines.protocol import StreamError
from speedbench.engines.sse import DONE, messages
from speedbench.records import Chunk, Event, HttpCall, Request, Response


class OpenAIEngine:
    """Messages out, text chunks in."""

    name = "openai"
    takes_token_ids = False

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return a chat completion call; the token counts come from the usage chunk."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.repetition_penalty != 1.0:  # not in OpenAI's own API; vLLM and SGLang take it
            body["repetition_penalty"] = sampling.repetition_penalty
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read text chunks; token counts are the server's usage, or unknown."""
        chunks: list[Chunk] = []
        usage: dict[str, Any] = {}
        finish_reason = None
        for at_ns, payload in completion_messages(events):
            usage = payload.get("usage") or usage
            for choice in payload.get("choices", ()):
                text = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
                if text:
                    chunks.append(Chunk(at_ns=at_ns, n_tokens=None, text=text))
                finish_reason = choice.get("finish_reason") or finish_reason
        return Response(
            chunks=tuple(chunks),
            n_input_tokens=usage.get("prompt_tokens"),
            n_output_tokens=usage.get("completion_tokens"),
            finish_reason=finish_reason,
        )


def completion_messages(events: Sequence[Event]) -> list[tuple[int, dict[str, Any]]]:
    """Return every JSON message of a completion stream with its stamp.

    Raises
    ------
    StreamError
        For an error event inside the stream, JSON that does not parse, or a stream without its end.
    """
    decoded: list[tuple[int, dict[str, Any]]] = []
    for at_ns, data in messages(events):
        if data == DONE:
            return decoded
        try:
            payload = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StreamError("bad_json", f"{error}: {data[:80]!r}") from error
        if failure := payload.get("error"):
            text = failure.get("message", failure) if isinstance(failure, dict) else failure
            raise StreamError("engine_error", str(text)[:300])
        decoded.append((at_ns, payload))
    raise StreamError("cut_stream", f"the stream ended after {len(decoded)} events without its end")
