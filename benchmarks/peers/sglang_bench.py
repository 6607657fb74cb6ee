"""SGLang's bench client in Rust, which its own documentation names for many streams.

Only its extension is used (`start_sglang.py`), so sglang is installed without its dependencies.
The older client in Python needs torch and a GPU's libraries.
"""

from __future__ import annotations

import json
from pathlib import Path

from client_figures import Seen
from client_load import Client, Load
from client_reading import intervals_to_times, seen_of, stamps

from peers.place import TOKENIZER, missing, program

PIP = [["--no-deps", "sglang==0.5.23"]]


def _command(load: Load) -> list[str]:
    chunks = str(load.pace.chunks)
    return [
        *(str(program("sglang", "python")), str(Path(__file__).with_name("start_sglang.py"))),
        *("--backend", "sglang-oai-chat", "--base-url", load.base_url, "--model", "paced"),
        *("--tokenizer", str(TOKENIZER), "--dataset-name", "random-ids"),
        *("--random-input-len", "16", "--random-output-len", chunks, "--random-range-ratio", "1"),
        *("--num-prompts", str(load.n_requests), "--max-concurrency", str(load.streams)),
        *("--warmup-requests", "0", "--disable-retokenize", "--disable-tqdm"),
        *("--output-file", str(load.directory / "sglang.jsonl"), "--output-details"),
    ]


def _seen(load: Load) -> Seen:
    """Read the columns of requests; they have no start, so each starts at 0 of its own clock."""
    result = json.loads((load.directory / "sglang.jsonl").read_text().splitlines()[-1])
    columns = zip(result["ttfts"], result["itls"], result["generated_texts"], strict=True)
    answers = [
        (0, stamps(text), intervals_to_times(0.0, ttft_s, itl_s)) for ttft_s, itl_s, text in columns
    ]
    n_failed = sum(1 for error in result["errors"] if error)
    return seen_of(answers, clock="request", n_failed=n_failed)


CLIENT = Client("sglang (Rust)", _command, _seen, missing=lambda: missing("sglang"), own_clock=True)
