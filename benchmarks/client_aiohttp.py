"""A client as most scripts are: aiohttp, line by line, every message parsed as it comes.

    client_aiohttp.py BASE_URL STREAMS ROUNDS CHUNKS

It needs nothing but aiohttp, so that it runs in an environment of its own.  stdout gets a line of
JSON per request: when it started, when each message came, and the text.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp


async def ask(session: aiohttp.ClientSession, number: int, chunks: int) -> dict[str, Any]:
    """Send one request and stamp every message with text in it."""
    body = {
        "model": "paced",
        "messages": [{"role": "user", "content": f"Question {number}: why is it so?"}],
        "max_tokens": chunks,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    at_ns, text = [], ""
    start_ns = time.monotonic_ns()
    async with session.post("/v1/chat/completions", json=body) as response:
        async for line in response.content:
            data = line.decode().strip().removeprefix("data: ")
            if not data or data == "[DONE]":
                continue
            message = json.loads(data)
            if message["choices"] and (content := message["choices"][0]["delta"].get("content")):
                at_ns.append(time.monotonic_ns())
                text += content
    return {"start_ns": start_ns, "at_ns": at_ns, "text": text}


async def main() -> None:
    base_url, streams, rounds, chunks = sys.argv[1], *map(int, sys.argv[2:5])
    answers: list[dict[str, Any]] = []

    async def stream(first: int) -> None:
        for number in range(first, first + rounds):
            answers.append(await ask(session, number, chunks))

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(base_url, connector=connector) as session:
        await asyncio.gather(*(stream(i * rounds) for i in range(streams)))
    for answer in answers:
        print(json.dumps(answer))


if __name__ == "__main__":
    asyncio.run(main())
