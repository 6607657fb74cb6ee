"""Keys go to the server and nowhere else, also when the server says them back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests import server as scripts
from tests.conftest import Finished
from tests.server import Script, ScriptedServer

from speedbench import load

BEARER, HEADER, QUERY = "sk-51Nx7KkQ", "hush/hush+77", "sesame123"
SECRETS = (BEARER, HEADER, QUERY)
ECHO = (*(f"X-Echo: {secret}" for secret in SECRETS), f"Server: engine {HEADER}")


def echoes(framing: scripts.Framing) -> Iterator[Script]:
    """Answers that hold every secret, cut between two reads at every position of it."""
    whole = scripts.chat("said", *SECRETS)
    for secret in SECRETS:
        start = whole.body.index(secret.encode())
        for cut in range(start, start + len(secret) + 1):
            answer = Script([whole.body], framing=framing, headers=ECHO)
            head, *rest = answer.writes()
            sent = b"".join(rest)
            cut = sent.index(secret.encode()) + cut - start
            yield Script([head, sent[:cut], sent[cut:]], framing="raw", between_s=0.01)


def refusals() -> Iterator[Script]:
    """Errors that hold every secret where the detail is cut short."""
    for secret in SECRETS:
        for n_before in range(297 - len(secret), 301):
            yield replace(
                scripts.http_error(500, ""), pieces=[b"x" * n_before + secret.encode()],
                headers=(*ECHO, f"Retry-After: {secret}"),
            )  # fmt: skip


def shown(path: Path, secret: str) -> list[str]:
    """Where below `path` a secret can be read."""
    found = []
    for file in path.rglob("*"):
        if not file.is_file():
            continue
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content += json.dumps(pl.read_parquet(file).to_dicts(), default=str).encode()
        if file.suffix == ".journal":
            recording = load.read_journals([file])
            for exchange in recording.exchanges(recording.attempts):
                content += b"\n" + b"".join(data for _, _, data in exchange.reads)
                content += b"\n" + b"".join(event.data for event in exchange.events)
        if secret.encode() in content:
            found.append(file.name)
    return found


@pytest.fixture
def measure(
    tmp_path: Path,
    server: ScriptedServer,
    speedbench: Callable[..., Finished],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Finished]:
    monkeypatch.setenv("SPEEDBENCH_API_KEY", BEARER)
    monkeypatch.setenv("KEY_OF_THE_TEST", HEADER)
    url = f"{server.base_url}/?api-key={QUERY}"
    words = ("run", "--engine", "openai", "--base-url", url, "--header", "X-Key: $KEY_OF_THE_TEST")

    def run(answers: list[Script], *more: object) -> Finished:
        data = tmp_path / "prompts.jsonl"
        line = '{"id": "p%d", "category": "qa", "turns": ["Why?"]}'
        data.write_text("\n".join(line % n for n in range(len(answers))), encoding="utf-8")
        server.play(scripts.chat("fine"), *answers)
        server.models = scripts.model_list("m")
        return speedbench(*words, "--data", data, "--output", tmp_path / "run", *more)

    return run


def assert_nowhere(done: Finished, path: Path) -> None:
    for secret in SECRETS:
        assert shown(path, secret) == []
        assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_secrets_that_an_answer_repeats_are_written_down_nowhere(
    framing: scripts.Framing, server: ScriptedServer, measure: Callable[..., Finished],
    tmp_path: Path,
) -> None:  # fmt: skip
    done = measure(list(echoes(framing)))
    assert done.code == 0, done.stderr
    request = server.received[-1]
    assert request.path.endswith(f"?api-key={QUERY}")
    assert request.headers["Authorization"] == f"Bearer {BEARER}"
    assert request.headers["X-Key"] == HEADER
    assert_nowhere(done, tmp_path / "run")
    table = pl.read_parquet(tmp_path / "run" / "requests.parquet")
    assert table["failure_kind"].null_count() == len(table)
    stored = (tmp_path / "run" / "manifest.json").read_text(encoding="utf-8")
    assert "api-key=***" in stored


def test_secrets_that_an_error_repeats_are_written_down_nowhere(
    measure: Callable[..., Finished], tmp_path: Path
) -> None:
    answers = list(refusals())
    done = measure(answers, "--max-failures", "100%")
    assert_nowhere(done, tmp_path / "run")
    details = pl.read_parquet(tmp_path / "run" / "requests.parquet")["failure_detail"].to_list()
    for secret, detail in itertools.product(SECRETS, details):
        assert not any(secret[:size] in detail for size in range(4, len(secret)))


def test_secrets_of_a_run_that_fails_are_said_to_nobody(
    server: ScriptedServer, measure: Callable[..., Finished], tmp_path: Path
) -> None:
    done = measure(list(refusals()), "--max-failures", "0")
    assert done.code == 4
    assert_nowhere(done, tmp_path / "run")


@pytest.mark.parametrize("status", [401, 500])
def test_secrets_that_the_probe_is_told_are_said_to_nobody(
    status: int, server: ScriptedServer, speedbench: Callable[..., Finished], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SPEEDBENCH_API_KEY", BEARER)
    server.models = replace(scripts.http_error(status, " ".join(SECRETS)), headers=ECHO)
    done = speedbench(
        "run", "--engine", "openai", "--base-url", f"{server.base_url}/?api-key={QUERY}",
        "--header", f"X-Key: {HEADER}", "--output", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 4
    assert_nowhere(done, tmp_path / "run")
