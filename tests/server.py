"""A local HTTP server that plays scripts: what an OpenAI-compatible server may send, good and bad.

A script is the bytes of one answer in pieces; each piece is one write, far enough from the next to
arrive as a read of its own.  To add a case, write a `Script`; to give it a name, a function here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

MODEL = "scripted-model"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Script:
    """One answer: `pieces` are written `between_s` apart; `cut` drops the connection at the end."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    between_s: float = 0.003
    cut: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def split(self, *positions: int) -> Script:
        """The same bytes in other pieces, split at `positions`."""
        edges = [0, *positions, len(self.body)]
        pieces = [self.body[a:b] for a, b in itertools.pairwise(edges)]
        return replace(self, pieces=pieces)


@dataclass(frozen=True)
class Received:
    """A request that came in."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class ScriptedServer:
    """Plays `scripts` in the order of the requests; the last one goes on for ever."""

    base_url: str = ""
    scripts: list[Script] = field(default_factory=lambda: [chat("Hello", " world")])
    models: Script = field(default_factory=lambda: model_list(MODEL))
    received: list[Received] = field(default_factory=list)

    def play(self, *scripts: Script) -> None:
        self.scripts = list(scripts)

    async def completion(self, request: web.Request) -> web.StreamResponse:
        number = len(self.received)
        self.received.append(Received(request.path, dict(request.headers), await request.json()))
        return await _perform(self.scripts[min(number, len(self.scripts) - 1)], request)

    async def list_models(self, request: web.Request) -> web.StreamResponse:
        return await _perform(self.models, request)


async def _perform(script: Script, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(
        status=script.status, headers={"Content-Type": script.content_type}
    )
    await response.prepare(request)
    try:
        for piece in script.pieces:
            await response.write(piece)
            await asyncio.sleep(script.between_s)
    except ConnectionResetError:  # the client under test was interrupted
        return response
    if script.cut and request.transport is not None:
        request.transport.abort()
    return response


@contextmanager
def running() -> Iterator[ScriptedServer]:
    """Run a scripted server in a thread, on a free port of this machine."""
    server = ScriptedServer()
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/v1/models", server.list_models)
    app.router.add_post("/v1/chat/completions", server.completion)
    app.router.add_post("/v1/completions", server.completion)
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

    loop.run_until_complete(start())
    server.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# --- scripts -------------------------------------------------------------------------------------


def event(payload: Any, *, newline: bytes = b"\n") -> bytes:
    """One server-sent event with a JSON payload, text unescaped as engines send it."""
    data = json.dumps(payload, ensure_ascii=False).encode()
    return b"data: " + data + newline + newline


def delta(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}


def usage(n_input: int, n_output: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": n_input, "completion_tokens": n_output}}


def chat(*texts: str, newline: bytes = b"\n", between_s: float = 0.003) -> Script:
    """A good answer: a role without text, one chunk for each text, the end, the usage."""
    payloads = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        *[delta(text) for text in texts],
        delta("", "stop"),
        usage(7, len(texts)),
    ]
    pieces = [event(payload, newline=newline) for payload in payloads]
    return Script([*pieces, DONE.replace(b"\n", newline)], between_s=between_s)


def slow_chat(n_chunks: int, between_s: float) -> Script:
    """A good answer that takes its time, for tests that interrupt it."""
    return chat(*["word "] * n_chunks, between_s=between_s)


def http_error(status: int, message: str) -> Script:
    """A refusal in OpenAI's shape."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": status}}).encode()
    return Script([body], status=status, content_type="application/json")


def cut_mid_event() -> Script:
    """A stream whose connection is lost within its second event."""
    whole = chat("Hello", " world")
    return Script([*whole.pieces[:2], whole.pieces[2][:20]], cut=True)


def ended_without_done() -> Script:
    """A stream that the server closes in good order, but too early."""
    return Script(chat("Hello", " world").pieces[:2])


def bad_json() -> Script:
    return Script([event(delta("Hello")), b'data: {"choices": [\n\n', DONE])


def error_event() -> Script:
    """An engine that fails after it has answered 200."""
    return Script([event(delta("Hello")), event({"error": {"message": "out of memory"}}), DONE])


def empty_answer() -> Script:
    """A complete answer without any text."""
    return Script([event(delta("", "stop")), event(usage(7, 0)), DONE])


def model_list(*names: str, **fields: Any) -> Script:
    listing = {"object": "list", "data": [{"id": name, **fields} for name in names]}
    return Script([json.dumps(listing).encode()], content_type="application/json")


def html_page() -> Script:
    """What a web server that is no engine shows at /v1/models."""
    return Script([b"<!doctype html><title>Welcome</title>"], content_type="text/html")


def foreign_json() -> Script:
    """What some other JSON service answers at /v1/models."""
    return Script([b'{"status": "ok"}'], content_type="application/json")
