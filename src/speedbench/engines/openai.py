"""Any OpenAI-compatible server, through ``/v1/chat/completions``.

Text chunks carry no evidence about speculation, so no acceptance figure is ever claimed here
(tier none).  Shapes: OpenAI API reference for chat completions streaming, and the ``usage`` chunk
of ``stream_options.include_usage``, as vLLM 0.33 and llama.cpp (mid-2026) send them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from speedbench.engines.protocol import StreamError
from speedbench.engines.sse import DONE, messages
from speedbench.records import Chunk, Event, HttpCall, Request, Response


class OpenAIEngine:
    """Messages out, text chunks in."""

    name = "openai"
    takes_token_ids = False

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """Say why there is no acceptance figure."""
        return [
            "The engine gave no evidence about speculation: acceptance is not reported, because a "
            "text chunk is neither a step nor a token."
        ]

    def build_request(self, request: Request, *, model: str) -> HttpCall:
        """Return a chat completion call; the token counts come from the usage chunk."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": model,
            **conversation(request),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.frequency_penalty:  # some servers refuse an option that they do not know
            body["frequency_penalty"] = sampling.frequency_penalty
        return HttpCall(path="/v1/chat/completions", body=msgspec.json.encode(body))

    def decode(self, request: Request, events: Sequence[Event]) -> Response:
        """Read text chunks; token counts are the server's usage, or unknown."""
        chunks: list[Chunk] = []
        usage = Usage()
        finish_reason = None
        for at_ns, message in completion_messages(events, _Message):
            usage = message.usage or usage
            for choice in message.choices or ():
                text = (choice.delta and choice.delta.content) or choice.text
                if text:
                    chunks.append(Chunk(at_ns=at_ns, n_tokens=None, text=text))
                finish_reason = choice.finish_reason or finish_reason
        return Response(
            chunks=tuple(chunks),
            n_input_tokens=usage.prompt_tokens,
            n_output_tokens=usage.completion_tokens,
            n_cached_tokens=usage.cached_tokens,
            finish_reason=finish_reason,
        )


Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class _InputDetails(msgspec.Struct, frozen=True):
    cached_tokens: Count | None = None


class Usage(msgspec.Struct, frozen=True):
    """How many tokens the server counted, as far as it says."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _InputDetails | None = None

    @property
    def cached_tokens(self) -> int | None:
        """Input tokens that were found in the prefix cache."""
        details = self.prompt_tokens_details
        return None if details is None else details.cached_tokens


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What every message of a completion stream may hold."""

    usage: Usage | None = None
    error: Any = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Message(Message, frozen=True, kw_only=True):
    choices: tuple[_Choice, ...] | None = None


AnyMessage = TypeVar("AnyMessage", bound=Message)
AnyStruct = TypeVar("AnyStruct", bound=msgspec.Struct)


class _Tokens(msgspec.Struct, frozen=True):
    tokens: tuple[Count, ...]


def conversation(request: Request) -> dict[str, Any]:
    """Return what a chat completion asks: the messages, and what their template is told.

    ``chat_template_kwargs`` is vLLM's name for it, which SGLang, TensorRT-LLM and llama.cpp share.
    """
    body: dict[str, Any] = {
        "messages": [{"role": role, "content": text} for role, text in request.messages]
    }
    if request.template_args:
        body["chat_template_kwargs"] = request.template_args
    return body


def tokens_of(body: bytes) -> tuple[int, ...]:
    """Return the ids in the answer of ``/tokenize``, the same on vLLM, SGLang and llama.cpp."""
    return json_of(body, _Tokens).tokens


def json_of(body: bytes, kind: type[AnyStruct]) -> AnyStruct:
    """Return a whole answer, read as `kind`.

    Raises
    ------
    StreamError
        For what is no JSON, or of another shape.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StreamError("bad_shape", f"{error}: {body[:80]!r}") from error


def completion_messages(
    events: Sequence[Event],
    kind: type[AnyMessage],
    is_last: Callable[[AnyMessage], bool] = lambda message: False,
) -> Iterator[tuple[int, AnyMessage]]:
    """Yield every message of a completion stream, read as `kind`, with its stamp.

    One at a time: cumulative streams repeat all that was before in every message.

    Parameters
    ----------
    events
        What was received.
    kind
        The shape of a message.
    is_last
        Tells the message that ends the stream, for servers that send no ``[DONE]``.

    Raises
    ------
    StreamError
        For an error event inside the stream, JSON that does not parse or is of another shape, or a
        stream without its end.
    """
    decoder = msgspec.json.Decoder(kind)
    n_decoded = 0
    for at_ns, data in messages(events):
        if data == DONE:
            return
        message = _decoded(data, decoder)
        n_decoded += 1
        yield at_ns, message
        if is_last(message):
            return
    if not any(event.data.strip() for event in events):
        raise StreamError("empty_answer", "the server answered 200 and nothing else")
    raise StreamError("cut_stream", f"the stream ended after {n_decoded} events without its end")


def _decoded(data: bytes, decoder: msgspec.json.Decoder[AnyMessage]) -> AnyMessage:
    try:
        message = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise StreamError("bad_shape", f"{error}: {data[:80]!r}") from error
    except UnicodeDecodeError as error:
        raise StreamError("bad_text", f"{error.reason}: {data[:80]!r}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise StreamError("bad_json", f"{error}: {data[:80]!r}") from error
    if failure := message.error:
        text = failure.get("message", failure) if isinstance(failure, dict) else failure
        raise StreamError("engine_error", str(text)[:300])
    return message
