"""Ask a server a few things before the first measured request, and judge the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic_ns

import aiohttp
import msgspec

from speedbench.engines import About, CountsSpeculation, Engine, Tokenizes
from speedbench.errors import EngineError, StreamError
from speedbench.launch.findings import (
    FAIL,
    UNKNOWN,
    Asked,
    Finding,
    Said,
    findings,
    input_finding,
    no_evidence,
    tokenizer_finding,
)
from speedbench.launch.probe import page
from speedbench.load import Target
from speedbench.records import Event, HttpCall, Request, Response, ServerCounts
from speedbench.tokenization import ChatTokenizer

N_PROMPTS = 8
N_AGAIN = 2
N_TOGETHER = 4
MAX_TOKENS = 48
ANSWER_TIMEOUT_S = 600.0
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "def mean(xs):\n    return sum(xs) / len(xs)\n",
    "Straße, naïve, 東京, \N{GRINNING FACE} 3.14159 -17 %\t<tag>",
)
"""Words, code, and characters at which tokenizers of one family part."""


@dataclass(frozen=True)
class Server:
    """Whom to ask, and in which way."""

    session: aiohttp.ClientSession
    target: Target
    adapter: Engine
    model: str
    tokenizer: ChatTokenizer | None
    about: About


async def check_tokenizer(server: Server) -> Finding:
    """Hold our tokenizer against the server's, which costs nothing."""
    adapter, tokenizer = server.adapter, server.tokenizer
    if tokenizer is None:
        sentence = (
            "none of ours is in use: prompts go out as messages, which the server turns into ids; "
            "--tokenizer sends ids, so that every engine provably reads the same"
        )
        return Finding(check="tokenizer", verdict=UNKNOWN, sentence=sentence)
    if not isinstance(adapter, Tokenizes):
        sentence = "this server does not tokenize on request: judged by how much input it counts"
        return Finding(check="tokenizer", verdict=UNKNOWN, sentence=sentence)
    theirs = {}
    for text in TEXTS:
        body = await _post(server, adapter.tokenize_request(text, model=server.model))
        if body is None:
            sentence = "this server does not tokenize: judged by how much input it counts"
            return Finding(check="tokenizer", verdict=UNKNOWN, sentence=sentence)
        try:
            theirs[text] = adapter.token_ids(body)
        except StreamError as error:
            sentence = f"the server's answer cannot be read: {error}"
            return Finding(check="tokenizer", verdict=UNKNOWN, sentence=sentence)
    return tokenizer_finding({text: tokenizer.encode(text) for text in TEXTS}, theirs)


async def preflight(server: Server, said: Said, requests: Sequence[Request]) -> list[Finding]:
    """Send a few short requests in several ways and return what they tell.

    The tokenizer is checked first, and if it is another nothing is sent.

    Parameters
    ----------
    server
        Whom to ask.
    said
        What the server was said to do.
    requests
        First turns, of which at most `N_PROMPTS` are asked, shortened to `MAX_TOKENS`.

    Raises
    ------
    EngineError
        When a request fails.
    """
    tokenizer = await check_tokenizer(server)
    if tokenizer.verdict == FAIL:
        return [tokenizer]
    if not server.adapter.takes_token_ids:
        return [tokenizer, no_evidence(said)]
    limit = min(MAX_TOKENS, said.max_tokens)
    said = msgspec.structs.replace(said, max_tokens=limit)
    some = requests[:N_PROMPTS]
    greedy = [_at(request, 0.0, limit) for request in some]
    alone = [await ask(server, request) for request in greedy]
    before = await server_counts(server)
    again = [await ask(server, request) for request in greedy[:N_AGAIN]]
    after = await server_counts(server)
    together = await _ask_together(server, greedy)
    sampled: list[Response] = []
    if said.temperature > 0:
        wanted = [_at(request, said.temperature, limit) for request in some]
        sampled = [await ask(server, request) for request in wanted]
    asked = Asked(
        requests=tuple(greedy),
        alone=tuple(alone),
        again=tuple(again),
        together=tuple(together),
        sampled=tuple(sampled),
        cached_tokens=_cached(before, after),
        n_together=N_TOGETHER,
    )
    read = input_finding(greedy, alone)
    return [tokenizer, *([read] if read else []), *findings(said, server.about, asked)]


async def ask(server: Server, request: Request) -> Response:
    """Send one request and return what its answer says.

    Raises
    ------
    EngineError
        When it fails.
    """
    call = server.adapter.build_request(request, model=server.model)
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    url, shown = server.target.url_of(call.path), server.target.public_url
    events = []
    try:
        async with server.session.post(
            url, data=call.body, headers=dict(call.headers), timeout=timeout
        ) as answer:
            if answer.status != 200:
                text = server.target.redactor.text((await answer.text())[:300])
                raise EngineError(f"{shown} answers {call.path} with HTTP {answer.status}: {text}")
            async for data in answer.content.iter_any():
                events.append(Event(monotonic_ns(), data))
        return server.adapter.decode(request, events)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = server.target.redactor.text(str(error)) or type(error).__name__
        raise EngineError(
            f"{shown} failed a request before anything was measured: {reason}"
        ) from error
    except StreamError as error:
        reason = server.target.redactor.text(str(error))
        raise EngineError(
            f"{shown} gave an answer that cannot be read ({error.kind}): {reason}"
        ) from error


async def server_counts(server: Server) -> ServerCounts | None:
    """Return the server's own counters; None where it has none."""
    if not isinstance(server.adapter, CountsSpeculation):
        return None
    text = await page(server.session, server.target, server.adapter.counts_path)
    if text is None:
        return None
    try:
        return server.adapter.server_counts(text.decode(errors="replace"))
    except StreamError:
        return None


async def _ask_together(server: Server, requests: Sequence[Request]) -> list[Response]:
    places = asyncio.Semaphore(N_TOGETHER)

    async def one(request: Request) -> Response:
        async with places:
            return await ask(server, request)

    return await asyncio.gather(*(one(request) for request in requests))


async def _post(server: Server, call: HttpCall) -> bytes | None:
    try:
        async with server.session.post(
            server.target.url_of(call.path), data=call.body, headers=dict(call.headers)
        ) as answer:
            body = await answer.read()
            return body if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


def _at(request: Request, temperature: float, max_tokens: int) -> Request:
    sampling = msgspec.structs.replace(
        request.sampling, temperature=temperature, max_tokens=max_tokens
    )
    return msgspec.structs.replace(request, sampling=sampling)


def _cached(before: ServerCounts | None, after: ServerCounts | None) -> int | None:
    if before is None or after is None or after.cached_tokens is None:
        return None
    return after.cached_tokens - (before.cached_tokens or 0)
