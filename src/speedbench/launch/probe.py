"""Ask a server what it is, before anything is measured."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from speedbench.client.connection import tls_context
from speedbench.engines import About, DescribesItself, Engine
from speedbench.errors import EngineError, StreamError
from speedbench.load import Target

PROBE_TIMEOUT_S = 10.0


OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama_cpp",
    "tensorrt_llm": "tensorrt_llm",
}
"""Our name of an engine, by what it writes as ``owned_by`` into ``/v1/models``."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says about itself; None where it says nothing."""

    model: str
    max_context: int | None = None
    engine: str | None = None


class _Model(msgspec.Struct, frozen=True):
    id: str
    max_model_len: int | None = None  # vLLM's field
    owned_by: str | None = None


class _Listing(msgspec.Struct, frozen=True):
    data: list[_Model]


def open_session(target: Target, *, keep_alive: bool = False) -> aiohttp.ClientSession:
    """Return a session that asks a server what it is; the load itself goes another way.

    Parameters
    ----------
    target
        The server.
    keep_alive
        Use connections again.  By default each question gets its own: a server that closes idle
        connections early (llama.cpp does) would fail a question for no fault of its own.
    """
    return aiohttp.ClientSession(
        headers=dict(target.headers),
        timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S),
        connector=aiohttp.TCPConnector(
            ssl=tls_context(target.ca_file) if target.tls else True, force_close=not keep_alive
        ),
    )


async def identify(session: aiohttp.ClientSession, target: Target, model: str | None) -> Identity:
    """Return the server's model (the one asked for, or its first).

    Raises
    ------
    EngineError
        When nothing answers, when what answers is not an OpenAI-compatible server, or when it does
        not serve the model asked for.
    """
    url = target.public_url
    try:
        models = msgspec.convert(await _get_json(session, target, "v1/models"), _Listing).data
    except msgspec.ValidationError as error:
        raise EngineError(
            f"{url} answers, but not like a language-model server: /v1/models holds no list of "
            "models; is this the right port?"
        ) from error
    names = [entry.id for entry in models]
    if not names:
        raise EngineError(f"{url} serves no model")
    if model is not None and model not in names:
        raise EngineError(f"{url} does not serve {model!r}; it serves {', '.join(names)}")
    chosen = models[names.index(model) if model else 0]
    return Identity(
        model=chosen.id,
        max_context=chosen.max_model_len,
        engine=OWNERS.get(chosen.owned_by or ""),
    )


async def about(session: aiohttp.ClientSession, target: Target, adapter: Engine) -> About:
    """Return what the server says about itself, as far as its engine's adapter can ask.

    Raises
    ------
    EngineError
        When what it answers is not what that engine answers.
    """
    if not isinstance(adapter, DescribesItself):
        return About()
    answers = {path: await page(session, target, path) for path in adapter.about_paths}
    try:
        found = adapter.about({path: body for path, body in answers.items() if body is not None})
    except StreamError as error:
        raise EngineError(
            f"{target.public_url} does not describe itself as {adapter.name} does ({error}): is it "
            "another engine? --engine openai measures any compatible server"
        ) from error
    return found


async def page(session: aiohttp.ClientSession, target: Target, path: str) -> bytes | None:
    """Return what a path answers; None where the server does not have it, or does not answer."""
    try:
        async with session.get(target.url_of(path)) as response:
            body = await response.read()
            return body if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def health(session: aiohttp.ClientSession, target: Target) -> dict[str, Any]:
    """Return the embedded engine's account of itself."""
    details: dict[str, Any] = await _get_json(session, target, "health")
    return details


async def _get_json(session: aiohttp.ClientSession, target: Target, path: str) -> Any:
    url = target.public_url
    try:
        async with session.get(target.url_of(f"/{path}")) as response:
            body = await response.read()
            if response.status in (401, 403):
                raise EngineError(
                    f"{url} refuses us (HTTP {response.status}): set SPEEDBENCH_API_KEY to its key"
                )
            if response.status != 200:
                raise EngineError(
                    f"{url} answers /{path} with HTTP {response.status}: not an OpenAI-compatible "
                    "server, or not the right path; give the URL without /v1"
                )
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = target.redactor.text(str(error)) or "no answer in time"
        raise EngineError(f"cannot reach {url}: {reason}; is the server running?") from error
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(
            f"{url} answers, but not like a language-model server: /{path} is not JSON; is this "
            "the right port?"
        ) from error
