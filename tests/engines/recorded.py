"""Recorded streams as a client would read them: one read a message, stamped by its number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speedbench.records import Event, Request, Response, Sampling, Step

GOLDEN = Path(__file__).parent.parent / "golden"
RECORDED = GOLDEN / "recorded"
IDS = (5, 6, 7, 8, 9, 10)


def by_message(data: bytes) -> list[Event]:
    """Event 0 holds the first message, and so on."""
    pieces = [piece + b"\n\n" for piece in data.split(b"\n\n") if piece.strip()]
    if not data.endswith(b"\n\n"):
        pieces[-1] = pieces[-1][:-2]
    return [Event(number, piece) for number, piece in enumerate(pieces)]


def golden(name: str) -> list[Event]:
    return by_message((GOLDEN / f"{name}.sse").read_bytes())


def stream(*messages: object, done: bool = True) -> list[Event]:
    """Messages written by hand."""
    ends = ["[DONE]"] if done else []
    texts = [*(json.dumps(message) for message in messages), *ends]
    return by_message("".join(f"data: {text}\n\n" for text in texts).encode())


def asked(ids: tuple[int, ...] | None = IDS, *, max_tokens: int = 48, **more: Any) -> Request:
    sampling = Sampling(max_tokens=max_tokens, seed=5, **more)
    return Request(
        id="p#0",
        prompt_id="p",
        turn=0,
        input_hash="0",
        sampling=sampling,
        input_ids=ids,
        messages=(("system", "Be brief."), ("user", "Hi")),
    )


def folders(engine: str) -> list[Path]:
    """The recordings of a real engine, a folder for each version."""
    return sorted(RECORDED.glob(f"{engine}-*"))


def recordings(engine: str) -> list[Path]:
    return sorted(path for folder in folders(engine) for path in folder.glob("*.sse"))


def request_of(recording: Path) -> Request:
    """What was asked when a stream was recorded."""
    body = json.loads(recording.with_suffix(".json").read_bytes())
    return asked(tuple(body["prompt"]), max_tokens=body.get("n_predict") or body["max_tokens"])


def ids_of(response: Response) -> list[int]:
    return [token for chunk in response.chunks for token in chunk.token_ids or ()]


def text_of(response: Response) -> str:
    return "".join(chunk.text for chunk in response.chunks)


def counts_of(steps: tuple[Step, ...]) -> list[tuple[int, int | None, int | None]]:
    """Of each step what came out, what was drafted, and what was accepted."""
    return [(step.emitted, step.drafted, step.accepted) for step in steps]


def assert_conserved(response: Response) -> None:
    """Every token is in a chunk, and in the prefill or a step."""
    assert sum(chunk.n_tokens or 0 for chunk in response.chunks) == response.n_output_tokens
    in_steps = sum(step.emitted for step in response.steps)
    assert (response.n_prefill_tokens or 0) + in_steps == response.n_output_tokens
