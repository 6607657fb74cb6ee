"""Drafted and accepted counts against OpenVINO GenAI's own counters.

`step()` tells a client which tokens came out, and speedbench derives from them how many were
drafted and accepted.  GenAI counts both inside its speculative pipeline, and prints them in its
debug output (speculative_decoding_metrics.cpp): for each request the tokens that the drafter made,
and for each step with a draft the share that was accepted.  The share of a request's last step is
not comparable: GenAI drops it when no request is left, and counts every draft as accepted when
others still run (fast_draft_strategy.cpp).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import environment

from speedbench import datasets
from speedbench.engines.embedded.models import PairPaths, prepare_pair
from speedbench.tokenization import ChatTokenizer

pytest.importorskip("openvino_genai", reason="the embedded engine is not installed")

PROGRAM = Path(__file__).with_name("counting_engine.py")


@dataclass
class Told:
    """One request as speedbench sees it, and as the engine counts it."""

    steps: list[tuple[int, int]] = field(default_factory=list)  # emitted, drafted
    n_prefill: int = 0
    engine_drafted: int = -1
    engine_shares: list[float] = field(default_factory=list)

    @property
    def shares(self) -> list[float]:
        """Accepted over drafted in percent, of the steps with a draft."""
        return [100 * (emitted - 1) / drafted for emitted, drafted in self.steps if drafted]


def engine_told(pair: PairPaths, draft_length: int, batches: list[Any]) -> dict[int, Told]:
    job = {
        "target": str(pair.target),
        "drafter": str(pair.drafter),
        "draft_length": draft_length,
        "batches": batches,
    }
    done = subprocess.run(
        [sys.executable, PROGRAM],
        input=json.dumps(job),
        env=environment(OPENVINO_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def parsed(output: str) -> dict[int, Told]:
    requests: dict[int, Told] = {}
    current = -1
    for line in output.splitlines():
        if line.startswith("told "):
            key, ids, drafted, _ = json.loads(line[5:])
            if key not in requests:
                requests[key] = Told(n_prefill=len(ids))
            else:
                requests[key].steps.append((len(ids), drafted))
        elif found := re.match(r"REQUEST_ID: (\d+)", line):
            current = int(found[1])
        elif found := re.match(r"Generated tokens by draft model: (\d+)", line):
            requests.setdefault(current, Told()).engine_drafted = int(found[1])
        elif found := re.match(r"Request_id: (\d+) \|\|\| (.*)", line):
            requests[int(found[1])].engine_shares = [float(word) for word in found[2].split()]
    return requests


def prompts_as_ids(tokenizer: ChatTokenizer, n: int) -> list[list[int]]:
    prompts = datasets.load("mini").prompts
    return [tokenizer.first_turn([("user", p.turns[0])]) for p in prompts[:: len(prompts) // n][:n]]


def options(max_tokens: int) -> dict[str, Any]:
    return {"max_tokens": max_tokens, "frequency_penalty": 0.2}


def ending_with(pair: PairPaths, eos_token_id: int, directory: Path) -> PairPaths:
    """The pair, with another token for the end."""
    copies = []
    for name, source in (("target", pair.target), ("drafter", pair.drafter)):
        shutil.copytree(source, directory / name, copy_function=lambda a, b: Path(b).symlink_to(a))
        config = directory / name / "generation_config.json"
        content = {**json.loads(config.read_bytes()), "eos_token_id": eos_token_id}
        config.unlink()
        config.write_text(json.dumps(content))
        copies.append(directory / name)
    return PairPaths(copies[0], copies[1], pair.max_context)


@pytest.fixture
def endless(tmp_path: Path, demo_tokenizer: ChatTokenizer) -> PairPaths:
    """The pair with an end that neither model ever writes, so that every answer has full length."""
    (never,) = demo_tokenizer.encode("<|bos|>")
    return ending_with(prepare_pair("unexpanded"), never, tmp_path / "endless")


@pytest.mark.parametrize("draft_length", [1, 3, 8])
def test_one_at_a_time_every_count_is_the_engines(
    draft_length: int, endless: PairPaths, demo_tokenizer: ChatTokenizer
) -> None:
    """Different token limits put every distance from the limit to the test."""
    ids = prompts_as_ids(demo_tokenizer, 4)
    alone = [[(i, ids[i % 4], options(9 + i))] for i in range(10)]
    told = engine_told(endless, draft_length, alone)
    assert len(told) == 10
    for key, request in told.items():
        assert request.n_prefill == 1
        assert sum(emitted for emitted, _ in request.steps) == 8 + key
        assert sum(drafted for _, drafted in request.steps) == request.engine_drafted
        n = len(request.engine_shares)
        assert request.engine_shares == pytest.approx(request.shares[:n], abs=1e-3)
        assert len(request.steps) - n <= 2  # GenAI leaves out the last step, and one without draft


def test_in_a_batch_every_count_is_the_engines(
    endless: PairPaths, demo_tokenizer: ChatTokenizer
) -> None:
    ids = prompts_as_ids(demo_tokenizer, 6)
    together = [[(i, ids[i], options(12 + 2 * i)) for i in range(6)]]
    for request in engine_told(endless, 3, together).values():
        assert sum(drafted for _, drafted in request.steps) == request.engine_drafted
        n = min(len(request.engine_shares), len(request.shares)) - 1
        assert n > 0
        assert request.engine_shares[:n] == pytest.approx(request.shares[:n], abs=1e-3)


def test_a_draft_that_the_drafter_ended_early_is_counted_at_full_length(
    tmp_path: Path, demo_tokenizer: ChatTokenizer
) -> None:
    pair = prepare_pair("unexpanded")
    ids = prompts_as_ids(demo_tokenizer, 6)
    newline = demo_tokenizer.encode("\n")[0]
    alone = [[(i, ids[i], options(24))] for i in range(6)]
    told = engine_told(ending_with(pair, newline, tmp_path), 3, alone)
    counted = [sum(drafted for _, drafted in request.steps) for request in told.values()]
    by_engine = [request.engine_drafted for request in told.values()]
    # The drafter stops at an end-of-sequence that it drafts, and step() does not tell.
    assert all(ours >= theirs for ours, theirs in zip(counted, by_engine, strict=True))
    assert sum(counted) > sum(by_engine)
