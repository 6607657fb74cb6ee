"""The embedded engine's process: a small HTTP server around the engine loop.

``python -m speedbench.engines.embedded.server --method ngram --draft-length 3`` prints one JSON
line ``{"ready": {"port": ...}}`` and serves ``POST /v1/completions`` (streaming, OpenAI's shape,
with token ids and a ``speedbench`` object for each engine iteration), ``GET /v1/models`` and
``GET /health``.

One thread does everything, because GenAI's `step()` holds the interpreter lock: between two
iterations the event loop runs a few turns, in which requests arrive and chunks leave.  The process
ends when its standard input closes, so it never outlives the client that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import openvino_genai
from aiohttp import web
from tokenizers import Tokenizer

from speedbench.engines.embedded.loop import EngineLoop, Iteration, Method, Output
from speedbench.engines.embedded.models import demo_pair_path, prepare_pair

MODEL_NAME = "speedbench-demo-pair"
# An arriving request takes about five turns of the event loop to reach its handler.
TURNS_BETWEEN_ITERATIONS = 8


class Server:
    """Connects HTTP streams to the engine loop."""

    def __init__(self, loop: EngineLoop, tokenizer: Tokenizer, max_context: int) -> None:
        self.loop = loop
        self.tokenizer = tokenizer
        self.max_context = max_context
        self.work_arrived = asyncio.Event()
        self.queues: dict[int, asyncio.Queue[tuple[Iteration, Output]]] = {}
        self.keys = itertools.count()

    async def drive(self) -> None:
        """Step the engine while it has work; in between let the event loop turn."""
        while True:
            if not self.loop.busy:
                self.work_arrived.clear()
                await self.work_arrived.wait()
            iteration = self.loop.step()
            for key, output in iteration.outputs.items():
                self.queues[key].put_nowait((iteration, output))
            for _ in range(TURNS_BETWEEN_ITERATIONS):
                await asyncio.sleep(0)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """Answer one completion, streamed: one event for every engine iteration."""
        options = await _json_object(request)
        input_ids = self._input_ids(options.get("prompt"))
        room = self.max_context - len(input_ids)
        if options.get("max_tokens", 0) < 1 or options["max_tokens"] > room:
            text = (
                f"max_tokens must lie between 1 and {room}: the context is {self.max_context} "
                f"tokens and the prompt has {len(input_ids)}"
            )
            raise web.HTTPBadRequest(text=_error(text), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        key = next(self.keys)
        queue = self.queues[key] = asyncio.Queue()
        self.loop.add(key, input_ids, options)
        self.work_arrived.set()
        try:
            await self._stream(response, queue, len(input_ids))
        finally:
            self.loop.cancel(key)
            del self.queues[key]
        return response

    async def _stream(
        self,
        response: web.StreamResponse,
        queue: asyncio.Queue[tuple[Iteration, Output]],
        n_input_tokens: int,
    ) -> None:
        finish_reason = None
        while finish_reason is None:
            iteration, output = await queue.get()
            finish_reason = output.finish_reason
            await response.write(_event(self._chunk(iteration, output)))
        # GenAI's own count, not a sum over chunks: the client checks its chunks against it.
        usage = {"prompt_tokens": n_input_tokens, "completion_tokens": output.n_generated}
        await response.write(_event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")

    def _chunk(self, iteration: Iteration, output: Output) -> dict[str, Any]:
        choice = {
            "index": 0,
            "text": self.tokenizer.decode(output.token_ids),
            "token_ids": output.token_ids,
            "finish_reason": output.finish_reason,
        }
        step = {
            "iteration": iteration.index,
            "ended_ns": iteration.ended_ns,
            "seconds": iteration.seconds,
            "mixed": iteration.mixed,
            "batch": iteration.batch,
            "drafted": output.drafted,
        }
        return {"model": MODEL_NAME, "choices": [choice], "speedbench": step}

    def _input_ids(self, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            return list(self.tokenizer.encode(prompt).ids)
        if isinstance(prompt, list) and prompt and all(isinstance(i, int) for i in prompt):
            return prompt
        text = _error("prompt must be a non-empty string or list of token ids")
        raise web.HTTPBadRequest(text=text, content_type="application/json")

    async def models(self, _request: web.Request) -> web.Response:
        """List the one model, with the context length in vLLM's field."""
        model = {"id": MODEL_NAME, "object": "model", "max_model_len": self.max_context}
        return web.json_response({"object": "list", "data": [model]})

    async def health(self, _request: web.Request) -> web.Response:
        """Say that the engine is up, and what it is."""
        method = self.loop.method
        return web.json_response(
            {
                "engine": "openvino-genai",
                "version": openvino_genai.__version__,
                "method": method.name,
                "draft_length": method.draft_length,
            }
        )


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        text = _error(f"the body is no JSON object: {error}")
        raise web.HTTPBadRequest(text=text, content_type="application/json") from error


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


def _error(message: str) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error"}})


def _application(server: Server) -> web.Application:
    async def background(_app: web.Application) -> AsyncIterator[None]:
        driver = asyncio.create_task(server.drive())
        driver.add_done_callback(_stop_on_failure)
        yield
        driver.cancel()

    app = web.Application()
    app.cleanup_ctx.append(background)
    app.router.add_post("/v1/completions", server.completions)
    app.router.add_get("/v1/models", server.models)
    app.router.add_get("/health", server.health)
    return app


def _stop_on_failure(driver: asyncio.Task[None]) -> None:
    if not driver.cancelled() and (error := driver.exception()):
        print(f"engine failed: {error}", file=sys.stderr, flush=True)
        asyncio.get_running_loop().stop()


async def _serve(arguments: argparse.Namespace) -> None:
    started_s = time.monotonic()
    pair = prepare_pair(arguments.pair)
    method = Method(arguments.method, arguments.draft_length)
    loop = EngineLoop(pair.target, pair.drafter, method, threads=arguments.threads)
    tokenizer = Tokenizer.from_file(str(demo_pair_path() / "target" / "tokenizer.json"))
    runner = web.AppRunner(_application(Server(loop, tokenizer, pair.max_context)))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    port = runner.addresses[0][1]
    ready = {"port": port, "load_s": round(time.monotonic() - started_s, 3)}
    print(json.dumps({"ready": ready}), flush=True)
    await _standard_input_closed()
    await runner.cleanup()


async def _standard_input_closed() -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.buffer.read)


def main() -> None:
    """Parse the arguments and serve until standard input closes."""
    parser = argparse.ArgumentParser(description="speedbench's embedded engine")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--method", choices=["none", "ngram", "draft_model"], default="none")
    parser.add_argument("--draft-length", type=int)
    parser.add_argument("--pair", choices=["expanded", "unexpanded", "drafter"], default="expanded")
    parser.add_argument("--threads", type=int, default=1)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
