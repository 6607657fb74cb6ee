"""The load through real worker processes: every byte and stamp kept, the load as asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests import server as scripts
from tests.driving import SAMPLING, Crew, prompt, talks
from tests.server import ScriptedServer

from speedbench import load
from speedbench.errors import EngineError
from speedbench.records import Answer


@pytest.fixture
def crew(tmp_path: Path) -> Crew:
    return Crew(tmp_path)


def exchanges(recording: load.Recording) -> list[load.Exchange]:
    return list(recording.exchanges(recording.attempts))


def most_in_flight(recording: load.Recording) -> int:
    edges = []
    for attempt in recording.attempts.values():
        assert attempt.ended is not None
        edges += [(attempt.sent.sent_ns, 1), (attempt.ended.at_ns, -1)]
    return max(itertools.accumulate(change for _, change in sorted(edges)))


# --- bytes and stamps ----------------------------------------------------------------------------


@pytest.mark.parametrize("stamps", ["kernel", "read"])
def test_the_journal_holds_the_bytes_as_they_came_and_when(
    stamps: str, server: ScriptedServer, crew: Crew
) -> None:
    script = scripts.chat("Grüße", " 日本", " 🙂", between_s=0.01)
    middle = script.body.index("日".encode()) + 1  # within a character
    server.play(script.split(30, middle, len(script.body) - 1))
    recording = crew.drive(server.base_url, talks([prompt("a")]), stamps=stamps)
    (exchange,) = exchanges(recording)
    assert b"".join(event.data for event in exchange.events) == script.body
    assert len(exchange.events) > 1
    assert exchange.ended is not None
    assert exchange.ended.failed is None
    at_ns = [event.at_ns for event in exchange.events]
    sent = exchange.sent
    steps = [sent.scheduled_ns, sent.connect_ns, sent.sent_ns, *at_ns, exchange.ended.at_ns]
    assert steps == sorted(steps)
    kernel = [kernel_ns for kernel_ns, _, _ in exchange.reads]
    assert all(kernel) == (recording.opened[0].stamps == "kernel")


def test_an_open_connection_is_used_again(server: ScriptedServer, crew: Crew) -> None:
    recording = crew.drive(server.base_url, talks([prompt("a"), prompt("b")]))
    assert [request.connection for request in server.received] == [0, 0]
    connected = [attempt.sent.connect_ns > 0 for attempt in recording.attempts.values()]
    assert connected == [True, False]


def test_a_prompt_that_fills_the_sockets_buffers_goes_out_whole(
    server: ScriptedServer, crew: Crew
) -> None:
    long = "x" * (12 << 20)
    recording = crew.drive(server.base_url, talks([prompt("a", long), prompt("b")]))
    assert server.asked(long) == server.asked("b") == 1
    assert set(recording.delivered()) == {"a#0", "b#0"}


def test_leader_and_worker_never_wait_for_each_other(server: ScriptedServer, crew: Crew) -> None:
    """More to say on both sides than sockets hold: tasks one way, answers the other."""
    server.play(scripts.chat("z" * (1 << 20), between_s=0.0))
    long = "x" * (2 << 20)
    prompts = [prompt(f"p{i}", f"{i} {long}", long) for i in range(12)]
    recording = crew.drive(server.base_url, talks(prompts), load.Shape(concurrency=12))
    assert len(recording.delivered()) == 24


# --- the shape of the load -----------------------------------------------------------------------


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_asked_number_of_requests_is_in_flight(
    n_workers: int, server: ScriptedServer, crew: Crew
) -> None:
    server.play(scripts.chat("a", "b", between_s=0.02))
    prompts = [prompt(f"p{i}") for i in range(40)]
    recording = crew.drive(
        server.base_url, talks(prompts), load.Shape(concurrency=8), n_workers=n_workers
    )
    assert most_in_flight(recording) == 8
    assert {journal for journal, _ in recording.attempts} == set(range(n_workers))
    assert Counter(request.body["messages"][-1]["content"] for request in server.received) == {
        p.id: 1 for p in prompts
    }
    assert set(recording.delivered()) == {f"p{i}#0" for i in range(40)}


def test_more_workers_than_conversations_in_flight_are_not_all_used(
    server: ScriptedServer, crew: Crew
) -> None:
    prompts = [prompt(f"p{i}") for i in range(20)]
    recording = crew.drive(server.base_url, talks(prompts), n_workers=2)
    assert most_in_flight(recording) == 1
    assert len(recording.delivered()) == 20


def test_no_limit_means_all_at_once(server: ScriptedServer, crew: Crew) -> None:
    server.play(scripts.chat("a", between_s=0.1))
    prompts = [prompt(f"p{i}") for i in range(30)]
    recording = crew.drive(server.base_url, talks(prompts), load.Shape(concurrency=None))
    assert most_in_flight(recording) == 30


def test_in_a_closed_loop_a_request_is_scheduled_for_when_its_slot_became_free(
    server: ScriptedServer, crew: Crew
) -> None:
    recording = crew.drive(server.base_url, talks([prompt("a"), prompt("b"), prompt("c")]))
    attempts = list(recording.attempts.values())
    for before, after in itertools.pairwise(attempts):
        assert before.ended is not None
        assert after.sent.scheduled_ns == before.ended.at_ns <= after.sent.sent_ns


@pytest.mark.parametrize("n_workers", [1, 2])
def test_in_an_open_loop_requests_come_when_they_are_due_whatever_the_server_does(
    n_workers: int, server: ScriptedServer, crew: Crew
) -> None:
    server.play(scripts.chat("slow", between_s=0.2))
    rng = np.random.default_rng(7)
    arrivals_s = load.poisson_arrivals(100.0, 40, rng=rng).tolist()
    recording = crew.drive(
        server.base_url,
        talks([prompt(f"p{i}") for i in range(40)]),
        load.Shape(concurrency=None, arrivals_s=arrivals_s),
        n_workers=n_workers,
    )
    due_ns = [int(s * 1e9) for s in arrivals_s]
    sent = {attempt.request.id: attempt.sent for attempt in recording.attempts.values()}
    scheduled_ns = [sent[f"p{i}#0"].scheduled_ns for i in range(40)]
    if n_workers == 1:  # each worker's own beginning of the phase is its zero
        assert np.diff(scheduled_ns).tolist() == np.diff(due_ns).tolist()
    assert all(one.sent_ns >= one.scheduled_ns for one in sent.values())
    assert most_in_flight(recording) > 5


def test_an_open_loop_with_a_limit_keeps_the_time_a_request_was_due(
    server: ScriptedServer, crew: Crew
) -> None:
    arrivals_s = [0.0, 0.001, 0.002, 0.003]
    recording = crew.drive(
        server.base_url,
        talks([prompt(name) for name in "abcd"]),
        load.Shape(concurrency=1, arrivals_s=arrivals_s),
    )
    scheduled_ns = [attempt.sent.scheduled_ns for attempt in recording.attempts.values()]
    assert np.diff(scheduled_ns).tolist() == [1_000_000] * 3
    assert most_in_flight(recording) == 1


def test_in_an_open_loop_what_is_finished_takes_nobodys_turn(
    server: ScriptedServer, crew: Crew
) -> None:
    shape = load.Shape(concurrency=None, arrivals_s=[0.0, 0.01, 0.03])
    crew.drive(server.base_url, talks([prompt(name) for name in "abc"]), shape)
    recording = crew.drive(server.base_url, talks([prompt(name) for name in "abcdefg"]), shape)
    again = [a for a in recording.attempts.values() if a.launch == 1]
    assert [attempt.request.id for attempt in again] == ["d#0", "e#0", "f#0"]
    scheduled_ns = [attempt.sent.scheduled_ns for attempt in again]
    assert np.diff(scheduled_ns).tolist() == [10_000_000, 20_000_000]


def test_a_ramp_spreads_the_first_requests(server: ScriptedServer, crew: Crew) -> None:
    server.play(scripts.chat("a", between_s=0.2))
    recording = crew.drive(
        server.base_url,
        talks([prompt(name) for name in "abcd"]),
        load.Shape(concurrency=4, ramp_s=0.4),
    )
    sent = [attempt.sent for attempt in recording.attempts.values()]
    assert np.diff([one.scheduled_ns for one in sent]).tolist() == [100_000_000] * 3
    assert all(one.sent_ns >= one.scheduled_ns for one in sent)


def endless(*names: str) -> Iterator[load.Conversation]:
    return load.conversations([prompt(name) for name in names], SAMPLING, None, endless=True)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_duration_ends_an_endless_load(
    n_workers: int, server: ScriptedServer, crew: Crew
) -> None:
    server.play(scripts.chat("a", between_s=0.002))
    recording = crew.drive(
        server.base_url,
        endless("a", "b", "c"),
        load.Shape(concurrency=2, duration_s=0.5),
        n_workers=n_workers,
    )
    attempts = list(recording.attempts.values())
    ids = [attempt.request.id for attempt in attempts]
    assert len(ids) == len(set(ids)) > 6
    assert {"a#0", "b#0", "c#0", "a#0+1", "b#0+1"} <= set(ids)
    assert all(attempt.ended is not None for attempt in attempts)
    for opened in range(n_workers):
        sent = [a.sent for (journal, _), a in recording.attempts.items() if journal == opened]
        began_ns = min(one.scheduled_ns for one in sent)
        assert max(one.scheduled_ns for one in sent) < began_ns + 500_000_000


# --- conversations -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_turn_is_sent_with_the_answers_before_it(
    n_workers: int, server: ScriptedServer, crew: Crew
) -> None:
    server.play(scripts.chat("One", "."), scripts.chat("Two."), scripts.chat("Three."))
    shape = load.Shape(concurrency=n_workers)
    crew.drive(
        server.base_url, talks([prompt("a", "first", "second", "third")]), shape,
        n_workers=n_workers,
    )  # fmt: skip
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
    assert crew.observer.outcomes == [("a#0", None), ("a#1", None), ("a#2", None)]


def test_a_failed_turn_ends_its_conversation_alone(server: ScriptedServer, crew: Crew) -> None:
    server.play(scripts.http_error(500, "no"), scripts.chat("fine"))
    prompts = [prompt("a", "1", "2"), prompt("b", "1", "2")]
    crew.drive(server.base_url, talks(prompts))
    assert [(name, f and f.kind) for name, f in crew.observer.outcomes] == [
        ("a#0", "http_500"),
        ("b#0", None),
        ("b#1", None),
    ]


def test_an_answer_that_cannot_be_read_ends_its_conversation_and_frees_its_slot(
    server: ScriptedServer, crew: Crew
) -> None:
    server.play(scripts.bad_json(), scripts.chat("fine"))
    crew.drive(server.base_url, talks([prompt("a", "1", "2"), prompt("b", "1", "2")]))
    assert [(name, f and f.kind) for name, f in crew.observer.outcomes] == [
        ("a#0", "bad_json"),
        ("b#0", None),
        ("b#1", None),
    ]


def test_a_history_is_told_in_place_of_the_engines_own_answers(
    server: ScriptedServer, crew: Crew
) -> None:
    server.play(scripts.chat("mine"))
    history = [Answer(input_hash="", text="theirs")]
    conversation = load.Conversation(prompt("a", "1", "2"), SAMPLING, None, history)
    recording = crew.drive(server.base_url, [conversation])
    assert [m["content"] for m in server.received[1].body["messages"]] == ["1", "theirs", "2"]
    assert set(recording.delivered()) == {"a#0", "a#1"}


# --- what is counted -----------------------------------------------------------------------------


def test_a_warm_up_is_on_file_and_never_counted(server: ScriptedServer, crew: Crew) -> None:
    recording = crew.drive(server.base_url, talks([prompt("b")]), warm_up=talks([prompt("a")]))
    phases = [(a.request.id, a.sent.phase) for a in recording.attempts.values()]
    assert phases == [("a#0", "warm_up"), ("b#0", load.MEASURED)]
    assert set(recording.ended()) == {"b#0"}
    assert crew.observer.outcomes == [("b#0", None)]


def test_finished_requests_are_not_sent_again_and_failed_ones_are(
    server: ScriptedServer, crew: Crew
) -> None:
    prompts = [prompt("a", "1", "2"), prompt("b"), prompt("c")]
    server.play(scripts.chat("x"), scripts.chat("y"), scripts.http_error(429, "no"),
                scripts.chat("z"))  # fmt: skip
    crew.drive(server.base_url, talks(prompts))
    assert len(server.received) == 4
    crew.observer.outcomes.clear()
    recording = crew.drive(server.base_url, talks(prompts))
    assert len(server.received) == 5
    assert crew.observer.outcomes == [(name, None) for name in ("a#0", "a#1", "c#0", "b#0")] or (
        crew.observer.outcomes == [(name, None) for name in ("a#0", "a#1", "b#0", "c#0")]
    )
    assert set(recording.delivered()) == {"a#0", "a#1", "b#0", "c#0"}
    assert recording.n_launches == 2
    assert len(recording.attempts) == 5


def test_repeated_attempts_are_on_file_and_the_servers_own_wait_is_honoured(
    server: ScriptedServer, crew: Crew
) -> None:
    busy = scripts.http_error(429, "later", "Retry-After: 1")
    server.play(busy, busy, scripts.chat("fine"))
    recording = crew.drive(server.base_url, talks([prompt("a")]), retries=2)
    attempts = list(recording.attempts.values())
    assert [attempt.sent.attempt for attempt in attempts] == [0, 1, 2]
    assert len({attempt.sent.scheduled_ns for attempt in attempts}) == 1
    kinds = [a.ended.failed.kind if a.ended and a.ended.failed else None for a in attempts]
    assert kinds == ["http_429", "http_429", None]
    for before, after in itertools.pairwise(attempts):
        assert before.ended is not None
        assert after.sent.sent_ns - before.ended.at_ns >= 1_000_000_000
    assert crew.observer.outcomes == [("a#0", None)]
    assert list(recording.delivered().values()) == [(0, attempts[2].sent.key)]


def test_when_every_attempt_fails_the_last_one_counts(server: ScriptedServer, crew: Crew) -> None:
    server.play(scripts.http_error(503, "one"), scripts.http_error(500, "two"))
    recording = crew.drive(server.base_url, talks([prompt("a")]), retries=1)
    ((name, failed),) = crew.observer.outcomes
    assert name == "a#0"
    assert failed is not None
    assert (failed.kind, "two" in failed.detail) == ("http_500", True)
    assert recording.delivered() == {}
    assert recording.failure(recording.ended()["a#0"]) == failed


def test_what_is_wrong_with_the_request_itself_is_not_repeated(
    server: ScriptedServer, crew: Crew
) -> None:
    server.play(scripts.http_error(400, "too long"))
    crew.drive(server.base_url, talks([prompt("a")]), retries=5)
    assert len(server.received) == 1


@pytest.mark.parametrize("allowed", [0, 2])
def test_a_run_may_lose_so_many_requests_and_no_more(
    allowed: int, server: ScriptedServer, crew: Crew
) -> None:
    server.play(scripts.http_error(500, "engine died"))
    prompts = [prompt(f"p{i}") for i in range(10)]
    with pytest.raises(load.TooManyFailuresError, match=r"http_500: .*engine died.*--resume"):
        crew.drive(server.base_url, talks(prompts), max_failures=allowed)
    assert len(crew.observer.outcomes) == allowed + 1
    assert issubclass(load.TooManyFailuresError, EngineError)
    server.play(scripts.chat("fine"))
    assert len(crew.drive(server.base_url, talks(prompts)).delivered()) == 10


def test_just_as_many_as_are_allowed_may_fail(server: ScriptedServer, crew: Crew) -> None:
    server.play(scripts.http_error(500, "a"), scripts.http_error(500, "b"), scripts.chat("fine"))
    prompts = [prompt(f"p{i}") for i in range(5)]
    recording = crew.drive(server.base_url, talks(prompts), max_failures=2)
    assert len(recording.delivered()) == 3
