"""The paced server: what it sends is complete, in order, stamped, and reported."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import environment

from speedbench import launch
from speedbench.client import http1
from speedbench.engines.openai import OpenAIEngine
from speedbench.paced import FIRST, MODEL, NEXT, framed
from speedbench.records import Event, Request, Response, Sampling

RATE_HZ, TTFT_S = 200.0, 0.02
COMMAND = [sys.executable, "-m", "speedbench.paced", "--rate", str(RATE_HZ), "--ttft", str(TTFT_S)]
ASKED = Request(id="p#0", prompt_id="p", turn=0, input_hash="", sampling=Sampling(max_tokens=1))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with launch.launched(COMMAND, tmp_path_factory.mktemp("paced") / "log") as server:
        yield server.ready["port"]


def ask(connection: http.client.HTTPConnection, n_chunks: int) -> bytes:
    body = json.dumps({"model": MODEL, "stream": True, "max_tokens": n_chunks})
    connection.request("POST", "/v1/chat/completions", body)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("Transfer-Encoding") == "chunked"
    return answer.read()


def read(body: bytes) -> Response:
    return OpenAIEngine().decode(ASKED, [Event(1, body)])


def get(port: int, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_every_chunk_arrives_once_and_none_before_it_is_due(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for n_chunks in (1, 2, 25):  # one after the other over one connection
        response = read(ask(connection, n_chunks))
        words = [word for chunk in response.chunks for word in chunk.text.split()]
        arrived_ns = int(words[0].removeprefix("a"))
        sent_ns = [int(word.removeprefix("s")) for word in words[1:]]
        assert len(response.chunks) == len(sent_ns) == n_chunks == response.n_output_tokens
        assert response.finish_reason == "length"
        assert sent_ns == sorted(sent_ns)
        for k, at_ns in enumerate(sent_ns):  # absolute: lateness of one chunk delays no other
            assert at_ns >= arrived_ns + (TTFT_S + k / RATE_HZ) * 1e9
    connection.close()


def test_many_streams_at_once_lose_nothing(port: int) -> None:
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(40)]
    before = get(port, "/lateness")[1]["n_chunks"]
    for connection in connections:
        body = json.dumps({"stream": True, "max_tokens": 12})
        connection.request("POST", "/v1/chat/completions", body)
    answers = [read(connection.getresponse().read()) for connection in connections]
    assert all(len(answer.chunks) == 12 for answer in answers)
    for connection in connections:
        connection.close()
    late = get(port, "/lateness")[1]
    assert late["n_chunks"] - before == 40 * 12
    assert 0 <= late["p50_ms"] <= late["p99_ms"] <= late["max_ms"]


def test_a_reader_that_is_slow_loses_nothing(tmp_path: Path) -> None:
    n_chunks = 40_000  # more than the sockets' buffers hold
    command = [*COMMAND[:3], "--rate", "1000000", "--ttft", "0"]
    with launch.launched(command, tmp_path / "log") as server, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        reader.settimeout(30)
        reader.connect(("127.0.0.1", server.ready["port"]))
        body = json.dumps({"stream": True, "max_tokens": n_chunks}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
        reader.sendall(head + body)
        time.sleep(0.5)
        data = bytearray()
        while not data.endswith(b"0\r\n\r\n"):
            data += reader.recv(1 << 16)
    answer = OpenAIEngine().decode(ASKED, http1.body_events([(1, bytes(data))]))
    assert len(answer.chunks) == answer.n_output_tokens == n_chunks
    stamps = [int(chunk.text.split()[-1].removeprefix("s")) for chunk in answer.chunks]
    assert stamps == sorted(stamps)


def test_a_lost_reader_is_forgotten(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({"stream": True, "max_tokens": 1000})
    )
    connection.close()
    other = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    assert len(read(ask(other, 3)).chunks) == 3
    other.close()


def test_its_pages(port: int) -> None:
    assert get(port, "/v1/models")[1]["data"][0]["id"] == MODEL
    assert get(port, "/nothing")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '{"max_tokens": 3}',
        '{"stream": true, "max_tokens": -1}',
        '{"stream": 1, "max_tokens": "x"}',
    ],
)
def test_what_is_no_request_is_refused(port: int, body: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/v1/chat/completions", body)
    assert connection.getresponse().status == 400
    connection.close()


def test_it_ends_with_its_standard_input() -> None:
    server = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    try:
        assert server.stdout is not None
        assert json.loads(server.stdout.readline())["ready"]["port"] > 0
        server.communicate(timeout=20)
    finally:
        server.kill()
    assert server.returncode == 0


def test_templates_have_the_size_they_claim() -> None:
    assert framed(_data(FIRST % (1, 2))) == FIRST % (1, 2)
    assert framed(_data(NEXT % (10**19 - 1))) == NEXT % (10**19 - 1)


def _data(chunk: bytes) -> bytes:
    return chunk.partition(b"data: ")[2].partition(b"\n\n")[0]


def test_the_program_refuses_what_it_cannot_pace(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND[:3], "--rate", "0"], env=environment(), cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 2
