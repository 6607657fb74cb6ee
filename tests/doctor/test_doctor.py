"""`speedbench doctor` from end to end: small loads through the way every run goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests import server as scripts
from tests.conftest import Finished
from tests.server import Script, ScriptedServer

from speedbench import launch
from speedbench.cli import doctor as command
from speedbench.doctor import Plan
from speedbench.doctor import server as of_server
from speedbench.doctor.client import compared
from speedbench.doctor.machine import machine_facts
from speedbench.errors import TraceError
from speedbench.trace import CHUNK_SCHEMA, REQUEST_SCHEMA, STEP_SCHEMA, Trace

Speedbench = Callable[..., Finished]
QUICK = ("--seconds", "0.4")


# --- the client ----------------------------------------------------------------------------------


def test_levels_are_reported_with_what_the_client_says_itself(speedbench: Speedbench) -> None:
    done = speedbench("doctor", "--levels", 3, 1, *QUICK, "--json")
    assert done.code in (0, 1, 3), done.stderr  # how fast this machine is right now is not at stake
    found = json.loads(done.stdout)
    assert found["exit_code"] == done.code
    assert {fact["name"] for fact in found["machine"]} >= {"stamps", "descriptors", "cores"}
    assert [level["streams"] for level in found["levels"]] in ([1, 3], [1])
    for level in found["levels"]:
        assert level["chunks_received"] == level["chunks_offered"] == 10 * level["streams"]
        assert level["requests_failed"] == 0
        assert 0 < level["error_ms_p50"] <= level["error_ms_p99"]
        assert level["ttft_error_ms_p99"] > 0
        assert 0 < level["pace"] < 1.01
        assert level["client"]["reads"] > level["streams"]
        assert {"read_delay_ms_p99", "loop_lag_ms_p99", "cpu_share_max", "gc_pauses"} <= set(
            level["client"]
        )


def test_the_screen_holds_every_level_and_ends_with_the_answer(speedbench: Speedbench) -> None:
    done = speedbench("doctor", "--levels", 2, *QUICK, "--stamps", "read")
    assert done.code in (0, 1, 3), done.stderr
    assert "stamp error p50" in done.stdout
    assert "it says" in done.stdout
    assert "on this machine" in done.stdout.split("\n\n")[-1].replace("\n", " ")
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_nothing_is_left_behind(speedbench: Speedbench, tmp_path: Path) -> None:
    speedbench("doctor", "--levels", 1, *QUICK)
    assert not list(tmp_path.iterdir())


def test_a_need_decides_what_is_tried() -> None:
    assert command._plan({"need": 600}).levels == (1, 32, 128, 512, 600)
    assert command._plan({"need": 32}).levels == (1, 32)
    assert command._plan({"need": 5, "levels": [9, 2]}).levels == (2, 5)
    assert command._plan({"levels": [9, 2, 9]}).levels == (2, 9)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--levels", "0"], "--levels"),
        (["--levels", "-3"], "--levels"),
        (["--levels", "70000"], "--levels 70000"),
        (["--levels", "many"], "many"),
        (["--need", "0"], "--need 0"),
        (["--rate", "0"], "--rate 0"),
        (["--rate", "nan"], "--rate nan"),
        (["--seconds", "-1"], "--seconds -1"),
        (["--seconds", "600", "--rate", "10000"], "--seconds 600"),
        (["--stamps", "kernal"], "did you mean 'kernel'"),
        (["--workers", "0"], "--workers 0"),
        (["--no-such-option"], "no-such-option"),
        (["--model", "m"], "--model belongs to --base-url"),
        (["--header", "A: b"], "--header belongs to --base-url"),
        (["--base-url", "localhost:8000"], "must begin with http"),
        (["--base-url", "http://x", "--need", "3"], "--need tries the client"),
        (["--base-url", "http://x", "--header", "nothing"], "--header"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_gets_one_sentence_and_2(
    words: list[str], said: str, speedbench: Speedbench
) -> None:
    done = speedbench("doctor", *words)
    assert said in done.sentence
    assert done.code == 2


# --- the comparison ------------------------------------------------------------------------------

PLAN = Plan(levels=(2,), rate_hz=10.0, seconds=0.2)  # 2 chunks, 100 ms apart
MS = 1_000_000


def trace_of(texts: list[str], at_ms: list[list[float]], failed: int = 0) -> Trace:
    """Answers whose requests were sent at 0 ms, and how many that failed."""
    rows: list[dict[str, Any]] = [
        {
            "request": i,
            "scheduled_ns": 0,
            "sent_ns": 0,
            "first_ns": int(times[0] * MS),
            "output_text": text,
        }
        for i, (text, times) in enumerate(zip(texts, at_ms, strict=True))
    ]
    rows += [{"request": len(texts) + i, "failure_kind": "cut_stream"} for i in range(failed)]
    chunks = [
        {"request": i, "chunk": k, "at_ns": int(at * MS)}
        for i, times in enumerate(at_ms)
        for k, at in enumerate(times)
    ]
    return Trace(
        pl.DataFrame(rows, schema=REQUEST_SCHEMA),
        pl.DataFrame(chunks, schema=CHUNK_SCHEMA),
        pl.DataFrame(schema=STEP_SCHEMA),
    )


def test_errors_are_what_lies_between_the_two_stamps() -> None:
    texts = [f" a{1 * MS} s{101 * MS} s{201 * MS}", f" a{2 * MS} s{102 * MS} s{202 * MS}"]
    found = compared(PLAN, 2, trace_of(texts, [[103, 203], [104, 204]]), 0.5, {"stamps": "read"})
    assert found.error_ms_p50 == pytest.approx(2.0)
    assert found.error_ms_p99 == pytest.approx(2.0)
    # 103 ms from sending to the first chunk where the server took 100; and 104
    assert found.ttft_error_ms_p99 == pytest.approx(3.99)
    # the last stream begins after half the ramp of 2 ms; 100 ms to the first, 100 to the second
    assert found.pace == pytest.approx(201 / 204)
    assert (found.chunks_offered, found.chunks_received) == (4, 4)
    assert found.share == pytest.approx(0.02)


def test_what_failed_is_counted_and_not_compared() -> None:
    found = compared(PLAN, 2, trace_of([" a1 s2 s3"], [[0.1, 0.2]], failed=1), 0.5, {})
    assert (found.chunks_offered, found.chunks_received) == (4, 2)
    assert (found.requests_failed, found.failures) == (1, {"cut_stream": 1})


def test_a_level_without_any_answer_has_no_figures() -> None:
    found = compared(PLAN, 2, trace_of([], [], failed=2), float("nan"), {})
    assert found.error_ms_p99 != found.error_ms_p99
    assert found.pace != found.pace
    assert found.chunks_received == 0


def test_stamps_that_do_not_fit_the_chunks_raise() -> None:
    with pytest.raises(TraceError, match="2 chunks hold 1 stamps"):
        compared(PLAN, 1, trace_of([" a1 s2"], [[0.1, 0.2]]), 0.5, {})


def test_every_fact_about_the_machine_is_a_sentence() -> None:
    facts = machine_facts()
    assert [fact.name for fact in facts][:4] == ["stamps", "descriptors", "cores", "clocks"]
    assert all(fact.sentence and not fact.sentence.endswith(".") for fact in facts)


# --- a server ------------------------------------------------------------------------------------


def test_nobody_there_is_4(speedbench: Speedbench) -> None:
    done = speedbench("doctor", "--base-url", "http://127.0.0.1:9")
    assert "cannot reach http://127.0.0.1:9" in done.sentence
    assert done.code == 4


def test_what_is_no_language_model_server_is_4(
    server: ScriptedServer, speedbench: Speedbench
) -> None:
    server.models = scripts.html_page()
    done = speedbench("doctor", "--base-url", server.base_url)
    assert "not like a language-model server" in done.sentence
    assert done.code == 4


def test_a_good_server_is_fit(server: ScriptedServer, speedbench: Speedbench) -> None:
    server.play(scripts.chat("one", " two", " three", between_s=0.02))
    done = speedbench("doctor", "--base-url", server.base_url)
    assert done.code == 0, done.stdout
    for line in (
        "reachable: answers",
        "streams: 3 chunks in 3 reads",
        "connections are used again",
    ):
        assert line in done.stdout
    assert "two equal greedy requests give equal text" in done.stdout
    assert done.stdout.rstrip().endswith(f"fit to measure: {server.base_url}")


ONCE = Script([b"".join(scripts.chat("one", " two", " three").pieces)])
NO_USAGE = Script(
    [
        *(scripts.event(scripts.delta(text)) for text in ("one", " two", "")),
        scripts.event(scripts.delta("", "stop")),
        scripts.DONE,
    ],
    between_s=0.02,
)


@pytest.mark.parametrize(
    ("play", "code", "name", "said"),
    [
        ([ONCE], 1, "streams", "arrives at once"),
        ([NO_USAGE], 0, "usage", "no usage.completion_tokens"),
        ([scripts.http_error(500, "broken")], 1, "answers", "3 of 3 requests failed"),
        ([scripts.bad_json()], 1, "answers", "bad_json"),
        ([scripts.chat("one")], 3, "streams", "nothing to tell streaming by"),
        ([scripts.empty_answer()], 3, "streams", "no text"),
        (
            [*[scripts.chat("a", "b", between_s=0.02)] * 2, scripts.chat("c", "d", between_s=0.02)],
            0,
            "greedy",
            "different text",
        ),
    ],
)
def test_what_is_wrong_with_a_server_is_said(
    play: list[Script],
    code: int,
    name: str,
    said: str,
    server: ScriptedServer,
    speedbench: Speedbench,
) -> None:
    server.play(*play)
    done = speedbench("doctor", "--base-url", server.base_url, "--json")
    found = json.loads(done.stdout)
    (check,) = (check for check in found["checks"] if check["name"] == name)
    assert said in check["sentence"]
    assert done.code == found["exit_code"] == code


def test_keys_reach_the_server_and_no_screen(
    server: ScriptedServer, speedbench: Speedbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR", "sesame")
    url = f"{server.base_url}?key=sesame"
    done = speedbench("doctor", "--base-url", url, "--header", "X-Key: $DOOR")
    assert server.received[0].headers["X-Key"] == "sesame"
    assert "sesame" not in done.stdout + done.stderr


@pytest.fixture
def paced(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "speedbench.paced", "--rate", "100", "--ttft", "0.02"]
    (tmp_path / "paced").mkdir()
    with launch.launched(command, tmp_path / "paced" / "log") as found:
        yield found.base_url


def test_our_own_paced_server_is_fit_though_it_never_says_the_same(
    paced: str, speedbench: Speedbench
) -> None:
    done = speedbench("doctor", "--base-url", paced)
    assert done.code == 0, done.stdout
    assert "caution  greedy:" in done.stdout
    assert f"{of_server.MAX_TOKENS} chunks in {of_server.MAX_TOKENS} reads" in done.stdout
