"""The workers of one run, seen from the process that leads them."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedbench.client.messages import (
    Broken,
    FromWorker,
    Ready,
    Setup,
    Stop,
    ToWorker,
    Unpacker,
    packed,
)
from speedbench.errors import EnvironmentFailedError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
_TOKEN_BYTES = 16


@dataclass
class Worker:
    """One worker: what to say to it, and what it says."""

    number: int
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    log: Path
    _unpacker: Unpacker = field(default_factory=lambda: Unpacker(FromWorker))

    def say(self, *messages: ToWorker) -> None:
        """Send messages, without waiting for the worker to take them.

        It may itself be waiting for what it says to be heard: two that wait for each other would
        do so for ever.  What can pile up here is what the worker has room for (`driver`).
        """
        self.writer.write(packed(messages))

    async def heard(self) -> list[FromWorker]:
        """Return what the worker has said since the last time, at least one message.

        Raises
        ------
        EnvironmentFailedError
            When the worker cannot go on, or is gone.
        """
        messages: list[FromWorker] = []
        while not messages:
            try:
                data = await self.reader.read(1 << 18)
            except ConnectionError:
                data = b""
            if not data:
                raise EnvironmentFailedError(await self._epitaph())
            for message in self._unpacker.feed(data):
                if isinstance(message, Broken):
                    raise EnvironmentFailedError(message.sentence)
                messages.append(message)  # type: ignore[arg-type]
        return messages

    async def _epitaph(self) -> str:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        said = f"; it said: {last.strip()}" if last else ""
        return (
            f"worker {self.number} of the load ended with code {self.process.returncode} before "
            f"its work was done{said}; every request finished so far is kept: go on with --resume"
        )


@asynccontextmanager
async def started_workers(setups: Sequence[Setup]) -> AsyncIterator[list[Worker]]:
    """Start a worker for each setup; stop them, journals written, when the block ends.

    A worker whose leader is gone ends by itself, so none is left behind by a kill.

    Raises
    ------
    EnvironmentFailedError
        When a worker does not start.
    """
    arrivals: dict[str, asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        token = (await reader.readexactly(2 * _TOKEN_BYTES)).decode()
        if (arrival := arrivals.get(token)) is not None and not arrival.done():
            arrival.set_result((reader, writer))
        else:
            writer.close()

    server = await asyncio.start_server(welcome, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    workers: list[Worker] = []
    try:
        for setup in setups:
            token = secrets.token_hex(_TOKEN_BYTES)
            arrivals[token] = asyncio.get_running_loop().create_future()
            workers.append(await _start(setup, port, token, arrivals[token]))
        yield workers
    finally:
        for worker in workers:
            await _stop(worker)
        server.close()


async def _start(
    setup: Setup,
    port: int,
    token: str,
    arrival: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
) -> Worker:
    log = Path(setup.journal).with_suffix(".log")
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "speedbench.client.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is the leader's to handle
        )
    assert process.stdin is not None
    where = {"host": "127.0.0.1", "port": port, "token": token}
    process.stdin.write(json.dumps(where).encode() + b"\n")  # not in argv, where all can read it
    ended = asyncio.create_task(process.wait())
    waiting: list[asyncio.Future[Any]] = [ended, arrival]
    await asyncio.wait(waiting, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    if not arrival.done():
        ended.cancel()
        if process.returncode is None:
            process.kill()
        await process.wait()
        said = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise EnvironmentFailedError(
            f"worker {setup.worker} of the load did not start: {' '.join(said) or 'it is silent'}"
        )
    ended.cancel()
    worker = Worker(setup.worker, process, *arrival.result(), log)
    try:
        worker.say(setup)
        (ready, *_) = await worker.heard()
    except EnvironmentFailedError:
        await _stop(worker)
        raise
    assert isinstance(ready, Ready)
    return worker


async def _stop(worker: Worker) -> None:
    worker.say(Stop())
    try:
        await asyncio.wait_for(worker.process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        worker.process.kill()
        await worker.process.wait()
    worker.writer.close()
    if worker.log.exists() and not worker.log.stat().st_size:
        worker.log.unlink()
