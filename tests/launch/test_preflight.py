"""The preflight asks over the wire what it judges: against a scripted server of vLLM's manners."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from speedbench import launch, load
from speedbench.engines import About, engine
from speedbench.errors import EngineError
from speedbench.records import Request, Sampling
from speedbench.tokenization import ChatTokenizer

ACCEPTED = (2, 0, 3)


@dataclass
class Manners:
    """How the server behaves; `asked` is what it was asked."""

    shift_ids: int = 0
    drafted: int = 4
    cached_per_request: int = 0
    status: int = 200
    accepted_above_zero: tuple[int, ...] = ACCEPTED
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cached: int = 0

    def stream(self, body: dict[str, Any]) -> bytes:
        self.cached += self.cached_per_request
        accepted = ACCEPTED if body["temperature"] == 0 else self.accepted_above_zero
        lengths = [1, *((a + 1) if self.drafted else 1 for a in accepted)]
        messages = [
            {"choices": [{"index": 0, "text": "x", "token_ids": [7] * n, "finish_reason": None}]}
            for n in lengths
        ]
        messages[-1]["choices"][0]["finish_reason"] = "length"
        spec = {
            "acceptance_histogram": [accepted.count(j) for j in range(5)],
            "num_draft_tokens": self.drafted * len(accepted),
            "num_spec_tokens": self.drafted,
            "per_step_accepted": list(accepted),
            "per_step_drafted": [self.drafted] * len(accepted),
        }
        if not self.drafted:
            spec |= {"acceptance_histogram": [0] * 5, "per_step_accepted": None}
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": sum(lengths)}
        messages.append({"choices": [], "usage": usage, "metrics": {"speculative_decoding": spec}})
        lines = [f"data: {json.dumps(message)}\n\n" for message in messages]
        return "".join([*lines, "data: [DONE]\n\n"]).encode()


@contextmanager
def serving(manners: Manners, tokenizer: ChatTokenizer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f'vllm:prefix_cache_hits_total{{engine="0"}} {manners.cached}.0\n'
            self._reply(200, page.encode())

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(size))
            manners.asked.append((self.path, body))
            if self.path == "/tokenize":
                ids = [i + manners.shift_ids for i in tokenizer.encode(body["prompt"])]
                self._reply(200, json.dumps({"tokens": ids}).encode())
            else:
                self._reply(manners.status, manners.stream(body))

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def ask(
    manners: Manners, tokenizer: ChatTokenizer, temperature: float = 0.0, name: str = "vllm"
) -> dict[str, launch.Finding]:
    said = launch.Said(method="draft_model", draft_length=4, temperature=temperature, max_tokens=64)
    requests = [
        Request(
            id=f"p{i}#0",
            prompt_id=f"p{i}",
            turn=0,
            input_hash="h",
            sampling=Sampling(max_tokens=64, temperature=temperature),
            input_ids=tuple(tokenizer.first_turn([("user", f"Question {i}")])),
        )
        for i in range(launch.N_PROMPTS + 3)
    ]

    async def run(url: str) -> list[launch.Finding]:
        target = load.Target(url)
        about = About(engine="vllm", version="0.33.0")
        async with launch.open_session(target) as session:
            server = launch.Server(session, target, engine(name), "m", tokenizer, about)
            return await launch.preflight(server, said, requests)

    with serving(manners, tokenizer) as url:
        return {finding.check: finding for finding in asyncio.run(run(url))}


def test_a_good_server_passes_and_is_asked_little(demo_tokenizer: ChatTokenizer) -> None:
    manners = Manners()
    found = ask(manners, demo_tokenizer)
    assert {finding.verdict for finding in found.values()} == {"pass"}
    bodies = [body for path, body in manners.asked if path == "/v1/completions"]
    assert len(bodies) == 8 + 2 + 8
    assert {(body["max_tokens"], body["temperature"]) for body in bodies} == {(48, 0.0)}


def test_another_tokenizer_is_found_before_any_token_is_asked_for(
    demo_tokenizer: ChatTokenizer,
) -> None:
    manners = Manners(shift_ids=1)
    found = ask(manners, demo_tokenizer)
    assert [(f.check, f.verdict) for f in found.values()] == [("tokenizer", "fail")]
    assert {path for path, _ in manners.asked} == {"/tokenize"}


def test_a_server_that_drafts_nothing_fails(demo_tokenizer: ChatTokenizer) -> None:
    assert ask(Manners(drafted=0), demo_tokenizer)["speculation"].verdict == "fail"


def test_a_prefix_cache_is_told_by_the_counters(demo_tokenizer: ChatTokenizer) -> None:
    finding = ask(Manners(cached_per_request=16), demo_tokenizer)["prefix cache"]
    assert finding.verdict == "caution"
    assert "32 input tokens of repeated requests" in finding.sentence


def test_the_runs_own_temperature_is_asked_for_too(demo_tokenizer: ChatTokenizer) -> None:
    manners = Manners(accepted_above_zero=(0,) * 12)
    finding = ask(manners, demo_tokenizer, temperature=0.05)["temperature"]
    assert finding.verdict == "fail"
    temperatures = [b["temperature"] for path, b in manners.asked if path != "/tokenize"]
    assert temperatures.count(0.05) == 8


def test_an_engine_that_tells_nothing_is_not_asked(demo_tokenizer: ChatTokenizer) -> None:
    manners = Manners()
    found = ask(manners, demo_tokenizer, name="openai")
    assert {finding.verdict for finding in found.values()} == {"cannot tell"}
    assert not [path for path, _ in manners.asked if "completions" in path]


def test_a_failing_server_is_one_sentence(demo_tokenizer: ChatTokenizer) -> None:
    with pytest.raises(EngineError, match="answers /v1/completions with HTTP 500"):
        ask(Manners(status=500), demo_tokenizer)
