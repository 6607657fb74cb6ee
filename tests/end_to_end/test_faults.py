"""Whatever a server does, its request ends with a kind and a sentence, and the run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from tests import server as scripts
from tests.conftest import Finished
from tests.driving import Crew, prompt, talks
from tests.server import Script, ScriptedServer

from speedbench import analysis, load
from speedbench.client.faults import DETAIL_CHARACTERS

Command = Callable[..., Finished]
QUICK = ("--first-byte-timeout", "0.4", "--between-bytes-timeout", "0.4", "--total-timeout", "0.9")

FAULTS: dict[str, tuple[Script, str, str]] = {
    "reset before the answer": (scripts.reset_at_once(), "reset", "reset"),
    "reset within the answer": (scripts.reset_mid_event(), "reset", "reset"),
    "hung up within the head": (scripts.raw(b"HTTP/1.1 200 OK\r\nContent-"), "cut_stream", "early"),
    "cut within an event": (scripts.cut_mid_event(), "cut_stream", "too early"),
    "cut short of its length": (
        replace(scripts.chat("Hello"), framing="raw",
                pieces=[*replace(scripts.chat("Hello"), framing="length").writes()][:-2],
                then="cut"),
        "cut_stream", "too early",
    ),
    "ended without done": (scripts.ended_without_done(), "cut_stream", "without its end"),
    "closed without done": (
        replace(scripts.ended_without_done(), framing="close", then="close"),
        "cut_stream", "without its end",
    ),
    "silent": (scripts.silent(), "first_byte_timeout", "nothing was answered after 0.4 s"),
    "stops": (scripts.stops(), "between_bytes_timeout", "stopped sending after 0.4 s"),
    "trickles": (scripts.trickles(), "total_timeout", "not finished after 0.9 s"),
    "400": (scripts.http_error(400, "context too long"), "http_400", "context too long"),
    "401": (scripts.http_error(401, "no key"), "http_401", "no key"),
    "404": (scripts.http_error(404, "no such model"), "http_404", "no such model"),
    "429": (scripts.http_error(429, "slow", "Retry-After: 7"), "http_429", "Retry-After: 7; "),
    "429 with a date": (
        scripts.http_error(429, "slow", "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"),
        "http_429", "Retry-After: Wed",
    ),
    "500": (scripts.http_error(500, "engine died"), "http_500", "engine died"),
    "503 without a body": (Script(status=503), "http_503", "Service Unavailable"),
    "502 with a page": (Script([b"<html>" + b"x" * 99_999], status=502), "http_502", "<html>x"),
    "error until the end of the connection": (
        Script([b"over"], status=500, framing="close", then="close"), "http_500", "over",
    ),
    "redirect": (scripts.redirect(), "http_307", "Temporary Redirect"),
    "204": (Script(status=204, framing="length"), "http_204", "No Content"),
    "bad JSON": (scripts.bad_json(), "bad_json", "choices"),
    "bad UTF-8": (scripts.bad_text(), "bad_text", ""),
    "another shape": (Script([scripts.event([1]), scripts.DONE]), "bad_shape", "array"),
    "an event of 10 MB": (scripts.huge_event(), "message_too_large", "8388608"),
    "error event": (scripts.error_event(), "engine_error", "out of memory"),
    "200 and nothing": (Script(), "empty_answer", "nothing"),
    "200 and nothing, by length": (Script(framing="length"), "empty_answer", "nothing"),
    "no HTTP": (scripts.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "bad_http", ""),
    "no HTTP within the chunks": (
        scripts.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nnext\r\n"),
        "bad_http", "",
    ),
    "a head without an end": (
        scripts.raw(b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 9_999] * 9, then="silence"), "bad_http", "",
    ),
    "line ends of another kind": (
        scripts.raw(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", then="silence"), "bad_http", "",
    ),
    "only interim answers": (
        scripts.raw(*[b"HTTP/1.1 100 Continue\r\n\r\n" * 100] * 80, then="silence"), "bad_http", "",
    ),
    "another protocol": (
        scripts.raw(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n\0\0"),
        "bad_http", "",
    ),
    "compressed": (scripts.compressed(), "content_encoding", "gzip"),
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "three.jsonl"
    lines = [f'{{"id": "{name}", "category": "qa", "turns": ["{name}"]}}' for name in "abc"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def measure(data: Path, server: ScriptedServer, speedbench: Command, tmp_path: Path) -> Command:
    words = ("run", "--engine", "openai", "--base-url", server.base_url, "--data", data)
    return lambda *more: speedbench(*words, "--output", tmp_path / "run", *QUICK, *more)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_its_request_with_a_kind_and_a_sentence_and_the_run_goes_on(
    name: str, server: ScriptedServer, measure: Command, tmp_path: Path
) -> None:
    script, kind, detail = FAULTS[name]
    good = replace(scripts.chat("fine"), framing="close", then="close")  # a new connection follows
    server.play(good, script, scripts.chat("fine"))
    done = measure()
    assert done.code == 0, done.stderr
    table = analysis.read_trace(tmp_path / "run")[1].requests
    assert len(table) == len(set(table["request_id"])) == 3
    failed = table.filter(table["failure_kind"].is_not_null())
    assert len(failed) == 1
    (found,), (said,) = failed["failure_kind"].to_list(), failed["failure_detail"].to_list()
    assert found == kind
    assert detail in said
    assert 0 < len(said) <= DETAIL_CHARACTERS
    assert "\n" not in said
    assert len(server.received) == 4


GOOD = {
    "ended by the end of the connection": replace(
        scripts.chat("Hello"), framing="close", then="close"
    ),
    "by length": replace(scripts.chat("Hello"), framing="length"),
    "after 100 Continue": scripts.after_continue(),
    "closed afterwards, unannounced": replace(scripts.chat("Hello"), then="close"),
    "byte by byte": scripts.chat("Hello").split(*range(1, len(scripts.chat("Hello").body))),
}


@pytest.mark.parametrize("name", GOOD)
def test_an_unusual_answer_is_an_answer(
    name: str, server: ScriptedServer, measure: Command, tmp_path: Path
) -> None:
    server.play(replace(GOOD[name], between_s=0.0))
    assert measure().code == 0
    table = analysis.read_trace(tmp_path / "run")[1].requests
    assert table["failure_kind"].null_count() == len(table) == 3
    assert table["n_output_tokens"].to_list() == [1, 1, 1]


@pytest.mark.parametrize("how", [scripts.hung_up(), scripts.reset_at_once()])
def test_a_connection_that_was_closed_while_idle_costs_nothing(
    how: Script, server: ScriptedServer, measure: Command, tmp_path: Path
) -> None:
    """The request goes out again on a new connection, and both attempts are on file."""
    good = scripts.chat("fine")
    server.play(good, good, how, good)
    assert measure("--max-failures", "0").code == 0
    recording = load.read_journals(sorted((tmp_path / "run" / "journal").glob("*.journal")))
    kinds = [a.ended.failed.kind for a in recording.attempts.values() if a.ended and a.ended.failed]
    assert kinds == ["stale_connection"]
    assert len(recording.delivered()) == 3
    table = analysis.read_trace(tmp_path / "run")[1].requests
    assert table["failure_kind"].null_count() == len(table) == 3


def test_a_server_that_closes_after_every_answer_is_not_sent_requests_twice(
    server: ScriptedServer, measure: Command, tmp_path: Path
) -> None:
    """It announces keep-alive and closes, as llama.cpp does: after the warm-up that is known."""
    server.play(replace(scripts.chat("fine"), then="close"))
    assert measure("--max-failures", "0").code == 0
    table = analysis.read_trace(tmp_path / "run")[1].requests
    assert table["attempt"].sum() <= 1  # the close may be under way while the first is sent
    assert table["connect_ns"].null_count() == 0


def test_too_many_faults_fail_the_run_and_resume_finishes_it(
    server: ScriptedServer, measure: Command
) -> None:
    server.play(scripts.chat("fine"), scripts.http_error(500, "died"), scripts.chat("fine"))
    failed = measure("--max-failures", "0")
    assert failed.code == 4
    assert "http_500" in failed.stderr
    assert "--resume" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert measure("--max-failures", "0", "--resume").code == 0


def test_a_fault_of_the_warm_up_ends_the_run(server: ScriptedServer, measure: Command) -> None:
    server.play(scripts.silent())
    failed = measure()
    assert failed.code == 4
    assert "first_byte_timeout" in failed.sentence


# --- no connection at all ------------------------------------------------------------------------


UNREACHABLE: dict[str, tuple[Callable[[], AbstractContextManager[str]], str]] = {
    "refused": (scripts.nobody, "connect_refused"),
    "no answer": (scripts.crowded, "connect_timeout"),
}


@pytest.fixture(params=UNREACHABLE)
def unreachable(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    if request.param == "no answer" and sys.platform != "linux":
        pytest.skip("a full queue is silent on Linux only")
    opened, kind = UNREACHABLE[request.param]
    with opened() as url:
        yield url, kind


def test_a_server_that_cannot_be_reached_fails_each_request(
    unreachable: tuple[str, str], tmp_path: Path
) -> None:
    url, kind = unreachable
    crew = Crew(tmp_path)
    recording = crew.drive(
        url, talks([prompt("a"), prompt("b")]), timeouts={"connect_timeout": 0.3}
    )
    assert [(name, f and f.kind) for name, f in crew.observer.outcomes] == [
        ("a#0", kind),
        ("b#0", kind),
    ]
    assert all(attempt.sent.sent_ns > 0 for attempt in recording.attempts.values())


def test_a_refused_connection_is_tried_again(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    with scripts.nobody() as url:
        recording = crew.drive(url, talks([prompt("a")]), retries=1)
    assert [attempt.sent.attempt for attempt in recording.attempts.values()] == [0, 1]


def test_a_run_against_nobody_is_refused_before_it_begins(data: Path, speedbench: Command) -> None:
    with scripts.nobody() as url:
        done = speedbench("run", "--engine", "openai", "--base-url", url, "--data", data)
    assert done.code == 4
    assert "cannot reach" in done.sentence
