"""From exchanges to columns: the only place where events become arrays.

A trace holds three tables, in polars frames that are written to Parquet as they are:

- `requests`: one row per request, also the failed ones;
- `chunks`: one row per streamed chunk;
- `steps`: one row per decode step, where the engine's evidence tells steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl

from speedbench.errors import StreamError, TraceError
from speedbench.records import Chunk, Counts, Event, Failed, Prompt, Request, Response, Step

Decode = Callable[[Request, Sequence[Event]], Response]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one request, as the journal holds it: what went out and what came back.

    `number` counts the attempts at the request before this one.  `connect_ns` is when its
    connection was begun, None where an open one was used again.
    """

    request: Request
    launch: int
    block: int
    scheduled_ns: int
    sent_ns: int
    ended_ns: int
    events: Sequence[Event]
    failed: Failed | None
    number: int = 0
    connect_ns: int | None = None


REQUEST_SCHEMA: dict[str, Any] = {
    "request": pl.Int64,
    "request_id": pl.String,
    "prompt_id": pl.String,
    "turn": pl.Int64,
    "category": pl.String,
    "subcategory": pl.String,
    "difficulty": pl.String,
    "language": pl.String,
    "launch": pl.Int64,
    "block": pl.Int64,
    "attempt": pl.Int64,
    "input_hash": pl.String,
    "n_input_tokens": pl.Int64,
    "scheduled_ns": pl.Int64,
    "connect_ns": pl.Int64,
    "sent_ns": pl.Int64,
    "first_ns": pl.Int64,
    "last_ns": pl.Int64,
    "ended_ns": pl.Int64,
    "n_output_tokens": pl.Int64,
    "n_first_chunk_tokens": pl.Int64,
    "n_prefill_tokens": pl.Int64,
    "n_step_tokens": pl.Int64,
    "n_cached_tokens": pl.Int64,
    "n_steps": pl.Int64,
    "n_drafts": pl.Int64,
    "n_drafted": pl.Int64,
    "n_accepted": pl.Int64,
    "decode_chunks": pl.Int64,
    "undrafted_steps": pl.Int64,
    "cut_steps": pl.Int64,
    "merged_steps": pl.Int64,
    "unexplained": pl.Int64,
    "tier": pl.String,
    "finish_reason": pl.String,
    "failure_kind": pl.String,
    "failure_detail": pl.String,
    "output_ids": pl.List(pl.Int64),
    "output_text": pl.String,
}
CHUNK_SCHEMA: dict[str, Any] = {
    "request": pl.Int64,
    "chunk": pl.Int64,
    "at_ns": pl.Int64,
    "n_tokens": pl.Int64,
}
STEP_SCHEMA: dict[str, Any] = {
    "request": pl.Int64,
    "step": pl.Int64,
    "ended_ns": pl.Int64,
    "emitted": pl.Int64,
    "drafted": pl.Int64,
    "accepted": pl.Int64,
    "observed": pl.Int64,
    "truncated": pl.Boolean,
    "seconds": pl.Float64,
    "mixed": pl.Boolean,
    "batch": pl.Int64,
}


@dataclass(frozen=True)
class Trace:
    """The three tables of one run."""

    requests: pl.DataFrame
    chunks: pl.DataFrame
    steps: pl.DataFrame


@dataclass
class _Rows:
    """What one attempt adds to the tables."""

    request: dict[str, Any]
    chunks: pl.DataFrame
    steps: Sequence[Step]

    @property
    def order(self) -> tuple[int, int]:
        """When the request was sent."""
        return self.request["launch"], self.request["sent_ns"]


def build(attempts: Iterable[Attempt], prompts: Mapping[str, Prompt], decode: Decode) -> Trace:
    """Decode every attempt and lay it out in columns, in the order sent.

    Parameters
    ----------
    attempts
        The attempt that counts for each request, in any order; they are not kept in memory.
    prompts
        The prompts by id, for the columns that describe a request.
    decode
        The engine's reading of its own bytes.

    Raises
    ------
    TraceError
        When an attempt belongs to no prompt of the run.

    Notes
    -----
    An answer that cannot be read makes its request a failed one.  So does one whose prefill and
    step tokens do not add up to what the engine reports: it was misread, by us or by the engine,
    and its kind is ``lost_tokens``.
    """
    rows = sorted((_rows(attempt, prompts, decode) for attempt in attempts), key=lambda r: r.order)
    requests = [{"request": number, **one.request} for number, one in enumerate(rows)]
    steps = [
        {"request": number, "step": i, **msgspec.structs.asdict(step)}
        for number, one in enumerate(rows)
        for i, step in enumerate(one.steps)
    ]
    return Trace(
        pl.DataFrame(requests, schema=REQUEST_SCHEMA),
        _chunk_table([one.chunks for one in rows]),
        pl.DataFrame(steps, schema=STEP_SCHEMA),
    )


def _rows(attempt: Attempt, prompts: Mapping[str, Prompt], decode: Decode) -> _Rows:
    prompt = prompts.get(attempt.request.prompt_id)
    if prompt is None:
        raise TraceError(
            f"request {attempt.request.id} belongs to prompt {attempt.request.prompt_id!r}, "
            "which this run's data set does not hold"
        )
    response, failed = None, attempt.failed
    if failed is None:
        try:
            response = decode(attempt.request, attempt.events)
            failed = _lost_tokens(attempt, response)
        except StreamError as error:
            failed = Failed(at_ns=attempt.ended_ns, kind=error.kind, detail=str(error))
    if failed is not None or response is None:
        attempt = msgspec.structs.replace(attempt, failed=failed)
        return _Rows(_request_row(attempt, prompt, None), _chunk_columns(()), ())
    return _Rows(
        _request_row(attempt, prompt, response), _chunk_columns(response.chunks), response.steps
    )


def _chunk_columns(chunks: Sequence[Chunk]) -> pl.DataFrame:
    """Return stamps and tokens of one answer's chunks, packed: there may be millions in a run."""
    return pl.DataFrame(
        {
            "chunk": range(len(chunks)),
            "at_ns": [chunk.at_ns for chunk in chunks],
            "n_tokens": [chunk.n_tokens for chunk in chunks],
        },
        schema={name: kind for name, kind in CHUNK_SCHEMA.items() if name != "request"},
    )


def _chunk_table(answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the chunks of all answers, each with the number of its request."""
    lengths = [len(one) for one in answers]
    numbers = np.repeat(np.arange(len(answers), dtype=np.int64), lengths)
    return pl.concat(answers or [_chunk_columns(())]).select(
        pl.Series("request", numbers), pl.all()
    )


def _request_row(attempt: Attempt, prompt: Prompt, response: Response | None) -> dict[str, Any]:
    request, failed = attempt.request, attempt.failed
    sent = {
        "request_id": request.id,
        "prompt_id": prompt.id,
        "turn": request.turn,
        "category": prompt.category,
        "subcategory": prompt.subcategory,
        "difficulty": prompt.difficulty,
        "language": prompt.language,
        "launch": attempt.launch,
        "block": attempt.block,
        "attempt": attempt.number,
        "input_hash": request.input_hash,
        "n_input_tokens": None if request.input_ids is None else len(request.input_ids),
        "scheduled_ns": attempt.scheduled_ns,
        "connect_ns": attempt.connect_ns,
        "sent_ns": attempt.sent_ns,
        "ended_ns": attempt.ended_ns,
        "failure_kind": failed.kind if failed else None,
        "failure_detail": failed.detail if failed else None,
    }
    return sent if response is None else {**sent, **_response_columns(response, sent)}


def _response_columns(response: Response, sent: Mapping[str, Any]) -> dict[str, Any]:
    chunks = response.chunks
    ids = None
    if all(chunk.token_ids is not None for chunk in chunks):
        ids = [token for chunk in chunks for token in chunk.token_ids or ()]
    return {
        "n_input_tokens": response.n_input_tokens or sent["n_input_tokens"],
        "first_ns": chunks[0].at_ns if chunks else None,
        "last_ns": chunks[-1].at_ns if chunks else None,
        "n_output_tokens": response.n_output_tokens,
        "n_first_chunk_tokens": chunks[0].n_tokens if chunks else None,
        "n_prefill_tokens": response.n_prefill_tokens,
        "n_step_tokens": sum(step.emitted for step in response.steps) if response.steps else None,
        "n_cached_tokens": response.n_cached_tokens,
        **_account(response),
        "tier": response.tier,
        "finish_reason": response.finish_reason,
        "output_ids": ids,
        "output_text": "".join(chunk.text for chunk in chunks),
    }


def _account(response: Response) -> dict[str, Any]:
    """Return what the engine counted in the whole answer, and how its chunks compare with it.

    The engine's counts are as it gave them, before any cut; steps are those that can be told.
    """
    counts, check = response.counts or Counts(), response.chunk_check
    told = len(response.steps) if response.steps else counts.steps
    account = {
        "n_steps": told if response.tier != "none" else None,
        "n_drafts": counts.drafts,
        "n_drafted": counts.drafted,
        "n_accepted": counts.accepted,
    }
    if check is None:
        return account
    return {
        **account,
        "decode_chunks": check.chunks,
        "undrafted_steps": check.undrafted,
        "cut_steps": check.cut,
        "merged_steps": check.merged,
        "unexplained": check.residual,
    }


def _lost_tokens(attempt: Attempt, response: Response) -> Failed | None:
    """Return a failure if the prefill's token and those in steps are not all tokens there are."""
    if response.tier == "none" or response.n_output_tokens is None:
        return None
    if not response.steps and response.counts and response.counts.steps:
        return None  # no single step is known
    in_steps = sum(step.emitted for step in response.steps)
    prefill = response.n_prefill_tokens or 0
    if in_steps + prefill == response.n_output_tokens:
        return None
    detail = (
        f"{in_steps} tokens in {len(response.steps)} steps and {prefill} from the prefill are not "
        f"the {response.n_output_tokens} that the engine reports"
    )
    return Failed(at_ns=attempt.ended_ns, kind="lost_tokens", detail=detail)
