"""Encrypted connections: verified, stamped by the kernel, and failing in a way of their own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from tests import server as scripts
from tests.conftest import Finished
from tests.driving import Crew, prompt, talks
from tests.server import ScriptedServer

from speedbench.records import Failed


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(found)
    return found


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[ScriptedServer]:
    with scripts.running(context(authority)) as scripted:
        yield scripted


def only_failure(crew: Crew) -> Failed:
    ((_, failed),) = crew.observer.outcomes
    assert failed is not None
    return failed


@pytest.mark.parametrize("stamps", ["kernel", "read"])
def test_an_encrypted_answer_is_recorded_as_plain_text_with_its_stamps(
    stamps: str, server: ScriptedServer, ca_file: Path, tmp_path: Path
) -> None:
    script = replace(scripts.chat("Grüße", " 日本", " 🙂"), between_s=0.01)
    server.play(script)
    crew = Crew(tmp_path)
    prompts = [prompt("a", "1", "2"), prompt("b")]
    recording = crew.drive(server.base_url, talks(prompts), ca_file=ca_file, stamps=stamps)
    assert crew.observer.outcomes == [("a#0", None), ("a#1", None), ("b#0", None)]
    assert {request.connection for request in server.received} == {0}
    for exchange in recording.exchanges(recording.attempts):
        assert b"".join(event.data for event in exchange.events) == script.body
        assert len(exchange.events) > 3
        assert all(k > 0 for k, _, _ in exchange.reads) == (recording.opened[0].stamps == "kernel")
        at_ns = [event.at_ns for event in exchange.events]
        assert exchange.ended is not None
        assert [exchange.sent.sent_ns, *at_ns, exchange.ended.at_ns] == sorted(
            [exchange.sent.sent_ns, *at_ns, exchange.ended.at_ns]
        )


def test_a_large_request_and_answer_pass_through(
    server: ScriptedServer, ca_file: Path, tmp_path: Path
) -> None:
    server.play(scripts.chat("x" * (1 << 20), between_s=0.0))
    crew = Crew(tmp_path)
    crew.drive(server.base_url, talks([prompt("a", "y" * (6 << 20))]), ca_file=ca_file)
    assert crew.observer.outcomes == [("a#0", None)]


def test_an_authority_that_nobody_trusts_is_a_failure(
    server: ScriptedServer, tmp_path: Path
) -> None:
    crew = Crew(tmp_path)
    crew.drive(server.base_url, talks([prompt("a")]))
    failed = only_failure(crew)
    assert failed.kind == "tls"
    assert "--ca-file" in failed.detail


def test_a_certificate_for_another_name_is_a_failure(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    crew = Crew(tmp_path)
    with scripts.running(context(authority, "elsewhere.example")) as elsewhere:
        crew.drive(elsewhere.base_url, talks([prompt("a")]), ca_file=ca_file)
    assert only_failure(crew).kind == "tls"


def test_a_server_that_speaks_plainly_is_a_failure(ca_file: Path, tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    with scripts.running() as plain:
        url = plain.base_url.replace("http:", "https:")
        crew.drive(url, talks([prompt("a")]), ca_file=ca_file, timeouts={"connect_timeout": 0.5})
    assert only_failure(crew).kind in ("tls", "reset", "connect_timeout")


def test_a_silent_encrypted_server_is_told_from_one_that_stops(
    server: ScriptedServer, ca_file: Path, tmp_path: Path
) -> None:
    """What TLS itself sends after the handshake is no beginning of an answer."""
    limits = {"first_byte_timeout": 0.4, "between_bytes_timeout": 0.3}
    kinds = []
    for number, script in enumerate([scripts.silent(), scripts.stops()]):
        server.play(script)
        (tmp_path / str(number)).mkdir()
        crew = Crew(tmp_path / str(number))
        crew.drive(server.base_url, talks([prompt("a")]), ca_file=ca_file, timeouts=limits)
        kinds.append(only_failure(crew).kind)
    assert kinds == ["first_byte_timeout", "between_bytes_timeout"]


def test_a_stream_that_is_cut_without_a_farewell_is_cut(
    server: ScriptedServer, ca_file: Path, tmp_path: Path
) -> None:
    server.play(scripts.cut_mid_event(), scripts.chat("fine"))
    crew = Crew(tmp_path)
    crew.drive(server.base_url, talks([prompt("a"), prompt("b")]), ca_file=ca_file)
    assert [(name, f and f.kind) for name, f in crew.observer.outcomes] == [
        ("a#0", "cut_stream"),
        ("b#0", None),
    ]


@contextmanager
def garbling(tls: ssl.SSLContext) -> Iterator[str]:
    """A server that sends what nobody can decrypt once it has been asked."""

    def serve() -> None:
        connection, _ = listener.accept()
        with tls.wrap_socket(connection, server_side=True) as whole:
            whole.recv(1)
            plain = socket.socket(fileno=whole.detach())
        with plain:
            plain.sendall(b"\x17\x03\x03\x00\x20" + b"\xee" * 32)
            plain.recv(1 << 16)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_what_cannot_be_decrypted_is_a_failure(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    crew = Crew(tmp_path)
    with garbling(context(authority)) as url:
        crew.drive(url, talks([prompt("a")]), ca_file=ca_file)
    assert only_failure(crew).kind == "tls"


def test_the_command_line_verifies_with_the_authority_and_not_without(
    server: ScriptedServer, ca_file: Path, speedbench: Callable[..., Finished]
) -> None:
    words = ("run", "--engine", "openai", "--base-url", server.base_url, "--num-prompts", "2")
    assert speedbench(*words, "--ca-file", ca_file, "--output", "verified").code == 0
    refused = speedbench(*words, "--output", "refused")
    assert refused.code == 4
    assert "certificate" in refused.sentence


def test_a_file_without_a_certificate_is_refused(
    server: ScriptedServer, speedbench: Callable[..., Finished], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    words = ("run", "--engine", "openai", "--base-url", server.base_url, "--num-prompts", "2")
    refused = speedbench(*words, "--ca-file", empty)
    assert refused.code == 2
    assert "--ca-file" in refused.sentence
