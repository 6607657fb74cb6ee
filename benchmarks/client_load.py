"""One load, one client of it, and how a client is run and watched."""

from __future__ import annotations

import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from client_figures import Figures, Seen, figures, window
from client_server import Native, Pace, PacedServer
from client_usage import Sample, sample, usage

SAMPLE_S = 0.05
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What a terminal is told between words."""
SPARE_FILES = 256
ALLOWED_S = 120.0
"""For start-up and for writing results, beside eight times the ideal wall time."""


@dataclass(frozen=True)
class Load:
    """What a client is asked for: `streams` at once, each `rounds` requests in turn.

    `tls` and `kernel_stamps` are for our own client; the others get plain HTTP.
    """

    streams: int
    rounds: int
    pace: Pace
    base_url: str = ""
    directory: Path = Path()
    tls: bool = False
    kernel_stamps: bool = True

    @property
    def n_requests(self) -> int:
        """Over all streams."""
        return self.streams * self.rounds


@dataclass(frozen=True)
class Client:
    """How one client is called and how what it saw is read.

    `missing` says why it cannot run here, or None.  `terminal` gives it a terminal to draw on.
    `own_clock`: its times are not CLOCK_MONOTONIC.
    """

    name: str
    command: Callable[[Load], list[str]]
    read: Callable[[Load], Seen]
    missing: Callable[[], str | None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)
    terminal: bool = False
    own_clock: bool = False


@dataclass(frozen=True)
class NotRun:
    """Why there are no figures."""

    reason: str


def run(client: Client, load: Load, native: Native, scratch: Path) -> Figures | NotRun:
    """Run one client once against a server of its own."""
    if reason := client.missing() or _too_many(load.streams):
        return NotRun(reason)
    directory = scratch / f"{client.name}-{load.streams}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with PacedServer(native, load.pace, directory / "server.log", tls=load.tls) as server:
        load = replace(load, base_url=server.base_url, directory=directory)
        command = client.command(load)
        status, samples = _watch(client, command, load, server.pid)
        sent, _ = server.stop()
    sent = sent.last_requests(load.n_requests)
    if status != 0 or not len(sent.server_ns):
        return NotRun(f"exit status {status}: {_last_words(directory)}")
    try:
        seen = client.read(load)
    except (OSError, LookupError, ValueError) as error:
        return NotRun(f"its results cannot be read: {type(error).__name__}: {error}")
    used = usage(samples, *window(sent))
    return figures(seen, sent, used, load.pace, n_requests=load.n_requests, rounds=load.rounds)


def _too_many(streams: int) -> str | None:
    """Raise the limit on open files, which every client inherits; say if it is too low."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < streams + SPARE_FILES:
        return f"the machine allows {most} open files, {streams + SPARE_FILES} are needed"
    return None


def _watch(
    client: Client, command: list[str], load: Load, server: int
) -> tuple[int | str, list[Sample]]:
    """Run a command to its end, looking at it every `SAMPLE_S`; return its status."""
    screen, terminal = pty.openpty() if client.terminal else (-1, -1)
    with (load.directory / "output.txt").open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=terminal if client.terminal else file,
            stderr=terminal if client.terminal else subprocess.STDOUT,
            cwd=load.directory,
            env=_environment(client.environment),
            start_new_session=True,
        )
        try:
            return _samples(process, load, server, lambda: file.write(_drained(screen)))
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if client.terminal:
                os.close(screen)
                os.close(terminal)


def _samples(
    process: subprocess.Popen[bytes], load: Load, server: int, draw: Callable[[], object]
) -> tuple[int | str, list[Sample]]:
    allowed_s = ALLOWED_S + 8 * load.rounds * load.pace.answer_s
    give_up_s = time.monotonic() + allowed_s
    samples = [sample(process.pid, server)]
    while time.monotonic() < give_up_s:
        time.sleep(SAMPLE_S)
        samples.append(sample(process.pid, server))
        draw()
        pid, status, spent = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            # What it used in its last moments, which no sample saw.
            total_ns = round(1e9 * (spent.ru_utime + spent.ru_stime))
            samples.append(replace(sample(process.pid, server), tree_cpu_ns=total_ns))
            return process.returncode, samples
    return f"none after {allowed_s:.0f} s", samples


def _drained(screen: int) -> bytes:
    """Return what a program has drawn, so that it never waits for its terminal."""
    if screen < 0:
        return b""
    os.set_blocking(screen, False)
    drawn = b""
    try:
        while part := os.read(screen, 1 << 16):
            drawn += part
    except OSError:  # nothing more for now
        pass
    return drawn


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return ours without proxies, and with every hub and every telemetry off."""
    kept = {name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")}
    off = {
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
    }
    return {**kept, **off, **more}


def _last_words(directory: Path) -> str:
    text = ESCAPES.sub("", (directory / "output.txt").read_text(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-2:])[-300:] or "it said nothing"
