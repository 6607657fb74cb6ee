"""Does killing a run cost a finished request, or send one twice?

    python benchmarks/kill.py              100 kills: some minutes
    python benchmarks/kill.py --kills 5    a taste of it

Starts `speedbench run` with two workers against a paced server of its own, on prompts of one, two
and three turns, and kills (SIGKILL) the parent, one worker or all of them at a random moment; then
resumes, and kills again, until the run is complete.  After every kill, each request that had been
acknowledged (its end is on file) must still be there exactly once; the server counts that none of
them is asked for again; and a run that is complete must hold every request exactly once.  Needs
/proc (Linux).  The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from speedbench.load import read_journals
from speedbench.store import journals

N_WORKERS, CONCURRENCY = 2, 8
TURNS = [1, 2, 1, 3] * 12
"""How many turns each prompt has."""
N_CHUNKS, BETWEEN_CHUNKS_S = 6, 0.008
MOST_REQUESTS_BEFORE_A_KILL = 30
SHARE_KILLED_AT_ANY_TIME = 0.15
"""So many kills come at a time of their own: also while it starts or writes its summary."""
LONGEST_START_S = 2.5
PATIENCE_S = 60.0
VICTIMS = ("parent", "one worker", "all workers")


class Server:
    """Streams short answers and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.n_asked = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                if head.startswith("GET"):
                    listing = json.dumps({"data": [{"id": "paced"}]}).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(listing))
                    writer.write(listing)
                    continue
                length = next(
                    int(line.partition(":")[2])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length:")
                )
                body = json.loads(await reader.readexactly(length))
                self.asked[body["messages"][-1]["content"]] += 1
                self.n_asked += 1
                await self.stream(writer)
        writer.close()

    async def stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        delta = {"choices": [{"index": 0, "delta": {"content": "word "}}]}
        usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": N_CHUNKS}}
        for payload in [*[delta] * N_CHUNKS, usage]:
            self.chunk(writer, f"data: {json.dumps(payload)}\n\n".encode())
            await writer.drain()
            await asyncio.sleep(BETWEEN_CHUNKS_S)
        self.chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")

    @staticmethod
    def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


@contextmanager
def serving() -> Iterator[Server]:
    server, loop = Server(), asyncio.new_event_loop()
    listener = loop.run_until_complete(asyncio.start_server(server.answer, "127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@dataclass
class Damage:
    """What the kills have cost."""

    kills: Counter[str] = field(default_factory=Counter)
    n_runs: int = 0
    n_acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


class Run:
    """One run directory, measured in as many launches as it takes."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server, self.directory = server, directory
        self.data = directory.with_suffix(".jsonl")
        self.planned, lines = [], []
        for number, n_turns in enumerate(TURNS):
            turns = [f"{directory.name} p{number}#{turn}" for turn in range(n_turns)]
            self.planned += [f"p{number}#{turn}" for turn in range(n_turns)]
            lines.append(json.dumps({"id": f"p{number}", "category": "qa", "turns": turns}))
        self.data.write_text("\n".join(lines), encoding="utf-8")
        self.acknowledged: dict[str, int] = {}
        """Requests whose end was on file after a kill, and how often they had been asked for."""

    def start(self) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", "from speedbench.cli import main; main()", "run"]
        words += ["--engine", "openai", "--base-url", self.server.url, "--data", str(self.data)]
        words += ["--concurrency", str(CONCURRENCY), "--workers", str(N_WORKERS)]
        words += ["--warm-up", "0", "--max-tokens", "16", "--output", str(self.directory)]
        words += ["--resume"] if (self.directory / "manifest.json").exists() else []
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def asked(self, name: str) -> int:
        return self.server.asked[f"{self.directory.name} {name}"]

    def check(self, damage: Damage, *, complete: bool) -> None:
        """Hold the journals against what had been acknowledged, and add what is now."""
        attempts = read_journals(journals(self.directory)).attempts.values()
        on_file = Counter(
            attempt.request.id
            for attempt in attempts
            if attempt.ended is not None and attempt.ended.failed is None
        )
        due = self.planned if complete else self.acknowledged
        damage.lost += [name for name in due if on_file[name] == 0]
        damage.twice += [name for name, n in on_file.items() if n > 1]
        damage.twice += [name for name, n in self.acknowledged.items() if self.asked(name) != n]
        for name in on_file:
            self.acknowledged.setdefault(name, self.asked(name))
        damage.n_acknowledged += len(on_file) if complete else 0


def workers_of(parent: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return [pid for pid in found if b"client.worker" in _read(f"/proc/{pid}/cmdline")]


def _read(path: str) -> bytes:
    with suppress(OSError):
        return Path(path).read_bytes()
    return b""


def wait_until_gone(pids: list[int]) -> None:
    """Wait for processes to end; one that waits to be collected has ended."""
    deadline_s = time.monotonic() + PATIENCE_S
    while any(stat and b") Z " not in stat for stat in (_read(f"/proc/{p}/stat") for p in pids)):
        if time.monotonic() > deadline_s:
            raise SystemExit(f"processes {pids} did not end")
        time.sleep(0.002)


def wait_for_the_moment(server: Server, process: subprocess.Popen[str], rng: random.Random) -> None:
    if rng.random() < SHARE_KILLED_AT_ANY_TIME:
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.0, LONGEST_START_S))
        return
    until = server.n_asked + rng.randint(1, MOST_REQUESTS_BEFORE_A_KILL)
    while server.n_asked < until and process.poll() is None:
        time.sleep(0.001)
    time.sleep(rng.uniform(0.0, 2 * BETWEEN_CHUNKS_S))


def kill(process: subprocess.Popen[str], rng: random.Random) -> str:
    """Kill somebody and wait until all are gone; return whom, empty when the run was quicker."""
    if process.poll() is not None:
        return ""
    workers = workers_of(process.pid)
    victim = rng.choice(VICTIMS) if len(workers) == N_WORKERS else "parent"
    doomed = {"parent": [process.pid], "one worker": [rng.choice(workers or [0])]}
    for pid in doomed.get(victim, workers):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE_S)
    wait_until_gone(workers)
    return "" if process.returncode == 0 else victim


def launch(run: Run, damage: Damage, rng: random.Random, *, and_kill: bool) -> bool:
    """Start or resume a run, kill it if that is wanted, check; return whether it is complete."""
    process, victim = run.start(), ""
    if and_kill:
        wait_for_the_moment(run.server, process, rng)
        victim = kill(process, rng)
    _, said = process.communicate(timeout=PATIENCE_S)
    code = process.returncode
    if "Traceback" in said or (code != 0 and not victim):
        raise SystemExit(f"{victim or 'nobody'} was killed, and it ended with {code}: {said}")
    damage.kills.update([victim] if victim else [])
    run.check(damage, complete=code == 0)
    return code == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, damage = random.Random(asked.seed), Damage()
    began_s = time.monotonic()
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        while damage.kills.total() < asked.kills:
            damage.n_runs += 1
            run = Run(server, Path(folder) / f"run-{damage.n_runs}")
            while not launch(run, damage, rng, and_kill=damage.kills.total() < asked.kills):
                pass
    print(f"{damage.kills.total()} kills in {time.monotonic() - began_s:.0f} s")
    for what, names in (("lost", damage.lost), ("twice", damage.twice)):
        print(f"{what}: {', '.join(names) or 'none'}")
    figures = {
        "kills": damage.kills.total(),
        "lost": len(damage.lost),
        "twice": len(damage.twice),
        "killed": dict(damage.kills),
        "runs": damage.n_runs,
        "requests": damage.n_acknowledged,
    }
    print(json.dumps(figures))
    sys.exit(bool(damage.lost or damage.twice))


if __name__ == "__main__":
    main()
