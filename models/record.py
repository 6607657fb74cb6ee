"""Record what a running server really sends, and what it accepts, for the tests and the card.

    python -m models.record vllm      http://127.0.0.1:PORT METHOD --model NAME --out FOLDER
    python -m models.record llama_cpp http://127.0.0.1:PORT METHOD --out FOLDER

FOLDER receives `METHOD-1.sse` (cut by the token limit) and `METHOD-2.sse` (ended by the model), each
with its request beside it, and what the server says of itself.  `--answers FILE` also asks sixteen
prompts one after the other, and keeps their token ids and counts.
"""

from __future__ import annotations

import argparse
import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tokenizers import Tokenizer

from models.prompts import PROMPTS

TARGET = Path(__file__).resolve().parent.parent / "src/speedbench/demo_pair/target"
N_PROMPTS = 16
ANSWER_TOKENS = 96
TIMEOUT_S = 120
RECORDED = ((0, 48), (5, 48))
"""Prompt and token limit of each recording."""
TEXT = "Write a Python function that adds two numbers: 12 + 345."
FACTS = {
    "vllm": ("/version", "/v1/models", "/health", "/metrics"),
    "llama_cpp": ("/props", "/v1/models", "/health", "/metrics"),
}
STREAM = {"vllm": "/v1/completions", "llama_cpp": "/completion"}


def chat_ids(tokenizer: Tokenizer, question: str) -> list[int]:
    """One turn as the pair's chat template writes it."""
    text = f"<|bos|><|user|>\n{question}<|end|>\n<|assistant|>\n"
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def prompts() -> list[list[int]]:
    """Sixteen prompts: one of each category, then a second of the first five."""
    tokenizer = Tokenizer.from_file(str(TARGET / "tokenizer.json"))
    questions = [asked[i] for i in (0, 1) for asked in PROMPTS.values()]
    return [chat_ids(tokenizer, question) for question in questions[:N_PROMPTS]]


def body_of(engine: str, ids: list[int], n_tokens: int, model: str) -> dict[str, Any]:
    both = {"prompt": ids, "temperature": 0, "seed": 0, "stream": True}
    if engine == "vllm":
        return {
            "model": model,
            **both,
            "max_tokens": n_tokens,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
    return {
        **both,
        "n_predict": n_tokens,
        "return_tokens": True,
        "timings_per_token": True,
        "cache_prompt": False,
    }


def call(url: str, path: str, body: dict[str, Any] | None = None) -> bytes:
    """The answer's bytes, without the transfer encoding."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != http.client.OK:
            raise SystemExit(f"record: {path} answered {answer.status}: {content[:300]!r}")
        return content
    finally:
        connection.close()


def messages(stream: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def ids_and_counts(engine: str, stream: bytes) -> dict[str, Any]:
    """Token ids in order, why the answer ended, and the engine's own counts."""
    parts = messages(stream)
    if engine == "llama_cpp":
        ids = [i for m in parts for i in m.get("tokens", []) if not m.get("stop")]
        return {"ids": ids, "reason": parts[-1].get("stop_type"), "counts": parts[-1]["timings"]}
    choices = [c for m in parts for c in m["choices"]]
    ids = [i for c in choices for i in c.get("token_ids") or []]
    reasons = [c["finish_reason"] for c in choices if c["finish_reason"]]
    return {
        "ids": ids,
        "chunks": [len(c.get("token_ids") or []) for c in choices],
        "reason": reasons[-1] if reasons else None,
        "counts": (parts[-1].get("metrics") or {}).get("speculative_decoding"),
    }


def record(engine: str, url: str, method: str, model: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    asked = prompts()
    for n, (index, limit) in enumerate(RECORDED, 1):
        body = body_of(engine, asked[index], limit, model)
        (out / f"{method}-{n}.json").write_text(json.dumps(body) + "\n")
        (out / f"{method}-{n}.sse").write_bytes(call(url, STREAM[engine], body))
    tokenize = (
        {"model": model, "prompt": TEXT, "add_special_tokens": False}
        if engine == "vllm"
        else {"content": TEXT, "add_special": False, "parse_special": True}
    )
    (out / "tokenize.request.json").write_text(json.dumps(tokenize) + "\n")
    (out / "tokenize.json").write_bytes(call(url, "/tokenize", tokenize))
    for path in FACTS[engine]:
        name = path.removeprefix("/v1").strip("/")
        ending = "txt" if name == "metrics" or (name, engine) == ("health", "vllm") else "json"
        (out / f"{method}.{name}.{ending}").write_bytes(call(url, path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=sorted(STREAM))
    parser.add_argument("url")
    parser.add_argument("method")
    parser.add_argument("--model", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answers", type=Path)
    args = parser.parse_args()
    if args.out:
        record(args.engine, args.url, args.method, args.model, args.out)
    if args.answers:
        found = [
            ids_and_counts(
                args.engine,
                call(
                    args.url,
                    STREAM[args.engine],
                    body_of(args.engine, ids, ANSWER_TOKENS, args.model),
                ),
            )
            for ids in prompts()
        ]
        args.answers.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
