"""The load client against a real server: every stamp and byte kept, every failure told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests import server as scripts
from tests.conftest import Silent
from tests.server import MODEL, Script, ScriptedServer

from speedbench import load
from speedbench.engines import engine
from speedbench.errors import EngineError
from speedbench.load.client import DETAIL_CHARACTERS
from speedbench.records import Prompt, Sampling

SAMPLING = Sampling(max_tokens=8)


def prompt(name: str, *turns: str) -> Prompt:
    return Prompt(id=name, category="qa", turns=turns or ("Hello?",))


def conversations(prompts: Sequence[Prompt]) -> list[load.Conversation]:
    return [load.Conversation(p, SAMPLING, None) for p in prompts]


def driven(
    base_url: str, prompts: Sequence[Prompt], path: Path, *, concurrency: int = 1
) -> tuple[Silent, load.Recording]:
    """Send `prompts`, continuing the journal at `path`."""
    observer = Silent()
    before = load.read_journal(path)

    async def go() -> None:
        journal = load.JournalWriter(path, first_key=before.next_key)
        async with load.open_session(base_url) as session:
            await load.drive(
                conversations(prompts),
                load.Target(session, engine("openai"), MODEL),
                concurrency=concurrency,
                journal=journal,
                observer=observer,
                done=before.finished(),
            )
        journal.close()

    asyncio.run(go())
    return observer, load.read_journal(path)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.journal"


def test_the_journal_holds_the_bytes_as_they_came_and_when(
    server: ScriptedServer, journal: Path
) -> None:
    script = scripts.chat("Grüße", " 日本", " 🙂", between_s=0.02)
    middle = script.body.index("日".encode()) + 1  # within a character
    server.play(script.split(30, middle, len(script.body) - 1))
    _, recording = driven(server.base_url, [prompt("a")], journal)
    (exchange,) = recording.exchanges
    assert b"".join(event.data for event in exchange.events) == script.body
    assert len(exchange.events) > 1
    stamps = [event.at_ns for event in exchange.events]
    assert stamps == sorted(stamps)
    assert exchange.ended is not None
    assert exchange.sent.scheduled_ns <= exchange.sent.sent_ns < stamps[0]
    assert stamps[-1] <= exchange.ended.at_ns


def test_the_decoded_answer_is_the_servers_whatever_the_line_ends_and_reads(
    server: ScriptedServer, journal: Path
) -> None:
    script = scripts.chat("Grüße", " 日本", " 🙂", newline=b"\r\n", between_s=0.001)
    server.play(script.split(*range(0, len(script.body), 17)))
    observer, _ = driven(server.base_url, [prompt("a")], journal)
    response = observer.outcomes[0].response
    assert response is not None
    assert "".join(chunk.text for chunk in response.chunks) == "Grüße 日本 🙂"
    assert response.n_output_tokens == 3


@pytest.mark.parametrize(
    ("script", "kind", "detail"),
    [
        (scripts.http_error(400, "context too long"), "http_400", "context too long"),
        (scripts.http_error(401, "no key"), "http_401", "no key"),
        (scripts.http_error(429, "slow down"), "http_429", "slow down"),
        (scripts.http_error(500, "engine died"), "http_500", "engine died"),
        (Script(status=503), "http_503", "Service Unavailable"),
        (Script([b"<html>" + b"x" * 9999], status=502), "http_502", "<html>x"),
        (scripts.cut_mid_event(), "connection_lost", ""),
        (scripts.ended_without_done(), "cut_stream", "without its end"),
        (scripts.bad_json(), "bad_json", "choices"),
        (scripts.error_event(), "engine_error", "out of memory"),
    ],
)
def test_each_failure_is_data_of_its_own_kind_and_the_rest_goes_on(
    script: Script, kind: str, detail: str, server: ScriptedServer, journal: Path
) -> None:
    server.play(script, scripts.chat("fine"))
    observer, recording = driven(server.base_url, [prompt("a"), prompt("b")], journal)
    bad, good = observer.outcomes
    assert bad.failed is not None
    assert bad.failed.kind == kind
    assert detail in bad.failed.detail
    assert 0 < len(bad.failed.detail) <= DETAIL_CHARACTERS
    assert good.response is not None
    assert recording.ended()["a#0"].ended.failed == bad.failed  # type: ignore[union-attr]
    assert set(recording.finished()) == {"b#0"}


def test_nobody_listening_is_a_failure_to_connect(journal: Path) -> None:
    observer, _ = driven("http://127.0.0.1:9", [prompt("a")], journal)
    failed = observer.outcomes[0].failed
    assert failed is not None
    assert failed.kind == "connect"


def test_an_empty_answer_is_finished(server: ScriptedServer, journal: Path) -> None:
    server.play(scripts.empty_answer())
    _, recording = driven(server.base_url, [prompt("a")], journal)
    assert set(recording.finished()) == {"a#0"}


def test_a_turn_is_sent_with_the_answers_before_it(server: ScriptedServer, journal: Path) -> None:
    server.play(scripts.chat("One", "."), scripts.chat("Two."), scripts.chat("Three."))
    driven(server.base_url, [prompt("a", "first", "second", "third")], journal)
    said = [
        [(m["role"], m["content"]) for m in received.body["messages"]]
        for received in server.received
    ]
    assert said[2] == [
        ("user", "first"),
        ("assistant", "One."),
        ("user", "second"),
        ("assistant", "Two."),
        ("user", "third"),
    ]
    assert [messages == said[2][: len(messages)] for messages in said] == [True] * 3


def test_a_failed_turn_ends_its_conversation_alone(server: ScriptedServer, journal: Path) -> None:
    server.play(scripts.http_error(500, "no"), scripts.chat("fine"))
    observer, _ = driven(server.base_url, [prompt("a", "1", "2"), prompt("b", "1", "2")], journal)
    assert [outcome.request.id for outcome in observer.outcomes] == ["a#0", "b#0", "b#1"]


def test_the_asked_number_of_requests_is_in_flight(server: ScriptedServer, journal: Path) -> None:
    server.play(scripts.chat("a", "b", between_s=0.02))
    _, recording = driven(
        server.base_url, [prompt(str(i)) for i in range(12)], journal, concurrency=4
    )
    edges = [(x.sent.sent_ns, 1) for x in recording.exchanges]
    edges += [(x.ended.at_ns, -1) for x in recording.exchanges if x.ended]
    in_flight, seen = 0, []
    for _, change in sorted(edges):
        in_flight += change
        seen.append(in_flight)
    assert max(seen) == 4
    assert len(recording.finished()) == 12


def test_finished_requests_are_not_sent_again_and_failed_ones_are(
    server: ScriptedServer, journal: Path
) -> None:
    prompts = [prompt("a", "1", "2"), prompt("b"), prompt("c")]
    server.play(scripts.chat("x"), scripts.chat("y"), scripts.http_error(429, "no"),
                scripts.chat("z"))  # fmt: skip
    driven(server.base_url, prompts, journal)
    n_sent = len(server.received)
    assert n_sent == 4
    observer, recording = driven(server.base_url, prompts, journal)
    assert len(server.received) == n_sent + 1
    assert [outcome.request.id for outcome in observer.outcomes] == ["a#0", "a#1", "b#0", "c#0"]
    assert set(recording.finished()) == {"a#0", "a#1", "b#0", "c#0"}


def test_the_key_is_sent_and_recorded_nowhere(server: ScriptedServer) -> None:
    async def go() -> None:
        async with load.open_session(server.base_url, "sesame") as session:
            target = load.Target(session, engine("openai"), MODEL)
            await load.warm_up(conversations([prompt("a")])[0], target)

    asyncio.run(go())
    assert server.received[0].headers["Authorization"] == "Bearer sesame"


def test_a_first_request_that_fails_stops_the_run(server: ScriptedServer) -> None:
    server.play(scripts.http_error(500, "engine died"))

    async def go() -> None:
        async with load.open_session(server.base_url) as session:
            target = load.Target(session, engine("openai"), MODEL)
            await load.warm_up(conversations([prompt("a")])[0], target)

    with pytest.raises(EngineError, match="engine died") as caught:
        asyncio.run(go())
    assert caught.value.exit_code == 4
