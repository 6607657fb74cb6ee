"""The paced server: built on the spot, started for one run, and what it sent when."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "client"


@dataclass(frozen=True)
class Native:
    """The two C programs, and why the server has no TLS, if it has none."""

    server: Path
    floor: Path
    no_tls: str | None


@dataclass(frozen=True)
class Pace:
    """What the server is told: chunk k of an answer is due at arrival + ttft + k * interval."""

    chunks: int
    interval_ms: float
    ttft_ms: float = 100.0

    @property
    def answer_s(self) -> float:
        """How long one answer takes when nothing is late."""
        return (self.ttft_ms + (self.chunks - 1) * self.interval_ms) / 1e3


@dataclass(frozen=True)
class Sent:
    """What the server sent: one row per chunk, in order of its stamp.  Stamps are unique.

    `request` counts requests in order of arrival, `chunk` counts within a request, and
    `arrival_ns` is when the request's last bytes reached the server's kernel.
    """

    server_ns: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    request: NDArray[np.int64]
    chunk: NDArray[np.int64]

    def last_requests(self, n: int) -> Sent:
        """Leave out what came before the last `n` requests: a client's warm-up."""
        keep = self.request > self.request.max(initial=-1) - n
        return Sent(
            self.server_ns[keep], self.arrival_ns[keep], self.request[keep], self.chunk[keep]
        )


def build() -> Native:
    """Compile both programs, with TLS where OpenSSL's headers are."""
    BUILD.mkdir(parents=True, exist_ok=True)
    native = Native(BUILD / "paced_server", BUILD / "floor_client", None)
    server = ["paced_server.c", "http.c", "tls.c", "-o", str(native.server)]
    _compile("floor_client.c", "-o", str(native.floor))
    try:
        _compile("-DWITH_TLS", *server, "-lssl", "-lcrypto")
    except subprocess.CalledProcessError:
        _compile(*server)
        return Native(native.server, native.floor, "OpenSSL's headers are not installed")
    try:
        _make_certificate()
    except (OSError, subprocess.CalledProcessError) as error:
        return Native(native.server, native.floor, f"no certificate could be made: {error}")
    return native


def _compile(*arguments: str) -> None:
    command = [*shlex.split(os.environ.get("CC", "cc")), "-O2", "-Wall", *arguments]
    subprocess.run(command, cwd=HERE / "native", check=True, capture_output=True)


CERTIFICATE, KEY = BUILD / "certificate.pem", BUILD / "key.pem"


def _make_certificate() -> None:
    """Make a certificate for the loopback address; clients are told to trust just this one."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-addext", "keyUsage=digitalSignature,keyCertSign"]
    command += ["-keyout", str(KEY), "-out", str(CERTIFICATE)]
    subprocess.run(command, check=True, capture_output=True)


class PacedServer:
    """One process of the server, for one run of one client."""

    def __init__(self, native: Native, pace: Pace, log: Path, *, tls: bool = False) -> None:
        self._log = log
        self._tls = tls
        command = [str(native.server), "--chunks", str(pace.chunks), "--log", str(log)]
        command += ["--ttft-ms", str(pace.ttft_ms), "--interval-ms", str(pace.interval_ms)]
        if tls:
            command += ["--certificate", str(CERTIFICATE), "--key", str(KEY)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._port = int(json.loads(self._process.stdout.readline())["ready"]["port"])

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def base_url(self) -> str:
        """Where it answers, without /v1."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def stop(self) -> tuple[Sent, dict[str, Any]]:
        """End it; return what it sent and its own totals."""
        output, _ = self._process.communicate(timeout=60)
        return _read_log(self._log), json.loads(output.splitlines()[-1])["totals"]

    def __enter__(self) -> PacedServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _read_log(path: Path) -> Sent:
    """Read int64s: per request its arrival, a count, and that many stamps."""
    log = np.fromfile(path, dtype=np.int64)
    answers: list[tuple[int, NDArray[np.int64]]] = []
    at = 0
    while at < len(log):
        end = at + 2 + int(log[at + 1])
        answers.append((int(log[at]), log[at + 2 : end]))
        at = end
    answers.sort(key=lambda answer: answer[0])
    counts = [len(stamps) for _, stamps in answers]
    server_ns = np.concatenate([np.empty(0, np.int64), *(stamps for _, stamps in answers)])
    order = np.argsort(server_ns)
    arrival_ns = np.repeat(np.array([at for at, _ in answers], dtype=np.int64), counts)
    request = np.repeat(np.arange(len(answers)), counts)
    chunk = np.concatenate([np.empty(0, np.int64), *(np.arange(n) for n in counts)])
    return Sent(server_ns[order], arrival_ns[order], request[order], chunk[order])
