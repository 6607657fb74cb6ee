"""A wrong call ends in one sentence that helps and the right exit code, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import server as scripts
from tests.conftest import Finished
from tests.server import Script, ScriptedServer

from speedbench.datasets.jsonl import PLACEHOLDER

Speedbench = Callable[..., Finished]
HTTP = ("--engine", "openai", "--base-url")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--category", "codding"], "did you mean 'coding'"),
        (["--category", "coding", "--category", "zzz"], "unknown category 'zzz'"),
        (["--engine", "embeded"], "did you mean 'embedded'"),
        (["--method", "draft-model"], "did you mean 'draft_model'"),
        (["--method", "eagle9"], "Known: none, ngram, draft_model"),
        (["--pair", "expandet"], "did you mean 'expanded'"),
        (["--data", "minni"], "did you mean 'mini'"),
        (["--data", "no/such/file.jsonl"], "no/such/file.jsonl"),
        (["--method", "ngram", "--draft-length", "0"], "--draft-length 0"),
        (["--method", "ngram", "--draft-length", "100"], "between 1 and 8"),
        (["--method", "none", "--draft-length", "3"], "drafts nothing"),
        (["--draft-length", "3"], "drafts nothing"),
        (["--num-prompts", "111"], "between 1 and 110"),
        (["--num-prompts", "0"], "--num-prompts 0"),
        (["--category", "qa", "--num-prompts", "11"], "between 1 and 10"),
        (["--resume"], "--resume needs --output"),
        (["--concurrency", "0"], "--concurrency 0"),
        (["--max-tokens", "-5"], "--max-tokens -5"),
        (["--temperature", "nan"], "--temperature nan"),
        (["--seed", "-1"], "--seed -1"),
        (["--concurrency", "four"], "four"),
        (["--no-such-option"], "no-such-option"),
        (["surplus"], "surplus"),
        (["--engine", "openai"], "--base-url is needed"),
        (["--engine", "openai", "--base-url", "localhost:8000"], "must begin with http"),
        (["--engine", "openai", "--base-url", "http://me:secret@x"], "leave the credentials out"),
        (["--engine", "vllm", "--base-url", "http://x", "--method", "eagel3"], "mean 'eagle3'"),
        (["--engine", "vllm", "--base-url", "http://x", "--draft-length", "3"], "say which"),
        (["--engine", "vlmm", "--base-url", "http://x"], "did you mean 'vllm'"),
        (["--engine", "vllm", "--base-url", "http://x", "--drafter", "d"], "belongs to --launch"),
        (["--engine", "vllm", "--launch"], "--model: is needed with --launch"),
        (["--engine", "vllm", "--launch", "--model", "m", "--base-url", "http://x"], "--base-url"),
        (["--engine", "sglang", "--launch", "--model", "m", "--method", "medusa"], "sglang has no"),
        (["--engine", "vllm", "--launch", "--model", "m", "--method", "ngram"], "--draft-length"),
        (["--engine", "vllm", "--base-url", "http://x", "--preflight", "no"], "Known: stop, warn"),
        (["--engine", "vllm", "--base-url", "http://x", "--template-arg", "x"], "must be NAME="),
        (["--engine", "openai", "--launch", "--model", "m"], "engine to launch 'openai'"),
        (["--engine", "embedded", "--base-url", "http://x"], "--base-url"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_named_and_exits_with_2(
    words: list[str], said: str, speedbench: Speedbench, tmp_path: Path
) -> None:
    done = speedbench("run", *words)
    assert said in done.sentence
    assert done.code == 2
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


def test_an_unknown_command_exits_with_2(speedbench: Speedbench) -> None:
    done = speedbench("rum")
    assert "rum" in done.sentence
    assert done.code == 2


def test_several_problems_are_told_at_once(speedbench: Speedbench) -> None:
    sentence = speedbench("run", "--concurrency", "0", "--max-tokens", "0").sentence
    assert "--concurrency 0" in sentence
    assert "--max-tokens 0" in sentence


# --- data ----------------------------------------------------------------------------------------

GOOD = {"id": "a", "category": "qa", "turns": ["Why?"]}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([GOOD, '{"turns": ["x"'], "data.jsonl:2"),
        ([GOOD, "", {"category": "qa"}], "data.jsonl:3"),
        ([[1, 2]], "data.jsonl:1"),
        ([GOOD, GOOD], "'a' occurs twice"),
        ([{**GOOD, "category": "codding"}], "did you mean 'coding'"),
        ([{**GOOD, "category": ["qa"]}], "data.jsonl:1"),
        ([{**GOOD, "turns": []}], "data.jsonl:1"),
        ([{**GOOD, "turns": "Why?"}], "data.jsonl:1"),
        ([{**GOOD, "turns": [" "]}], "data.jsonl:1"),
        ([{**GOOD, "turns": 3}], "data.jsonl:1"),
        ([{**GOOD, "subcategory": 3}], "data.jsonl:1"),
        ([{**GOOD, "turns": [PLACEHOLDER + " for HLE"]}], "prepare_data.py"),
        ([""], "holds no prompt"),
    ],
)
def test_a_line_that_is_no_prompt_is_found_by_file_and_line(
    lines: list[object], said: str, speedbench: Speedbench, tmp_path: Path
) -> None:
    rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    done = speedbench("run", "--data", "data.jsonl")
    assert said in done.sentence
    assert done.code == 2


def test_bytes_that_are_no_text_are_found_too(speedbench: Speedbench, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(json.dumps(GOOD).encode() + b"\n\xff\xfe{}\n")
    done = speedbench("run", "--data", "data.jsonl")
    assert "data.jsonl:2" in done.sentence
    assert done.code == 2


def test_a_prompt_longer_than_the_context_is_named(speedbench: Speedbench, tmp_path: Path) -> None:
    rows = [GOOD, {**GOOD, "id": "long", "turns": ["word " * 9000]}]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = speedbench("run", "--data", "data.jsonl", "--output", "run")
    assert "'long'" in done.sentence
    assert "4096" in done.sentence
    assert done.code == 2


# --- directories ---------------------------------------------------------------------------------


def test_a_directory_that_holds_another_run_is_refused(
    speedbench: Speedbench, server: ScriptedServer
) -> None:
    here = ("--output", "run", "--num-prompts", "1")
    assert speedbench("run", *HTTP, server.base_url, *here).code == 0
    again = speedbench("run", *HTTP, server.base_url, *here)
    assert "--resume" in again.sentence
    other = speedbench("run", *HTTP, server.base_url, *here, "--seed", "7")
    assert "holds another run (seed is 0 there and 7 here)" in other.sentence
    assert (again.code, other.code) == (2, 2)


def test_a_directory_with_other_things_in_it_is_refused(
    speedbench: Speedbench, server: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = speedbench("run", *HTTP, server.base_url, "--num-prompts", "1", "--output", ".")
    assert "notes.txt" in done.sentence
    assert done.code == 2


# --- servers -------------------------------------------------------------------------------------


def test_an_unreachable_server_exits_with_4(speedbench: Speedbench) -> None:
    done = speedbench("run", *HTTP, "http://127.0.0.1:9", "--num-prompts", "1")
    assert "cannot reach http://127.0.0.1:9" in done.sentence
    assert done.code == 4


@pytest.mark.parametrize(
    "page", [scripts.html_page(), scripts.foreign_json()], ids=["HTML", "JSON"]
)
def test_a_server_that_is_no_language_model_exits_with_4(
    page: Script, speedbench: Speedbench, server: ScriptedServer
) -> None:
    server.models = page
    done = speedbench("run", *HTTP, server.base_url, "--num-prompts", "1")
    assert "not like a language-model server" in done.sentence
    assert done.code == 4


def test_a_server_that_fails_every_request_exits_with_4(
    speedbench: Speedbench, server: ScriptedServer
) -> None:
    server.play(scripts.http_error(500, "engine died"))
    done = speedbench("run", *HTTP, server.base_url, "--num-prompts", "2")
    assert "engine died" in done.sentence
    assert done.code == 4


def test_debug_shows_where_it_happened(speedbench_process: Speedbench) -> None:
    words = ("run", "--method", "draft-model")
    plain, debug = speedbench_process(*words), speedbench_process(*words, "--debug")
    assert "did you mean 'draft_model'" in plain.sentence
    assert "Traceback" in debug.stderr
    assert "CallError" in debug.stderr
    assert plain.code == 2
    assert debug.code != 0
