"""The frozen types that cross stages, each belonging to one stage.

Stamps are nanoseconds of `time.monotonic_ns()` unless a name says otherwise; they can be compared
between processes of one machine and not between machines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Category = str
CATEGORIES: tuple[Category, ...] = (
    "coding",
    "humanities",
    "math",
    "multilingual",
    "qa",
    "rag",
    "reasoning",
    "roleplay",
    "stem",
    "summarization",
    "writing",
)
"""The 11 categories of SPEED-Bench's qualitative split (arXiv 2604.09557, section 4)."""

Tier = Literal["A", "B", "C", "D", "none"]
"""Evidence tier of an acceptance figure, best first (docs/explanation/chunk-step-token.md)."""


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark sample: everything the user says, turn by turn."""

    id: str
    category: Category
    turns: tuple[str, ...]
    subcategory: str | None = None
    difficulty: str | None = None
    language: str | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the engine's sampler; the same for every method of a comparison."""

    max_tokens: int
    temperature: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of one prompt, sent to an engine.

    `input_ids` is None where the engine was given messages instead of ids; `input_hash` names the
    exact input either way, so that two runs can prove that they sent the same thing.
    `template_args` go to the server's chat template with messages; with ids they are in the ids.
    """

    id: str
    prompt_id: str
    turn: int
    input_hash: str
    sampling: Sampling
    input_ids: tuple[int, ...] | None = None
    messages: tuple[tuple[str, str], ...] = ()
    template_args: Mapping[str, Any] = {}


class Event(msgspec.Struct, frozen=True):
    """Bytes received at one time stamp: one read of the socket."""

    at_ns: int
    data: bytes


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One streamed message of the engine that carries output; may hold 0..n tokens.

    `n_tokens` is None where the engine does not say how many tokens the chunk holds.
    """

    at_ns: int
    n_tokens: int | None
    token_ids: tuple[int, ...] | None = None
    text: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One target forward pass in decode, of one request.

    `emitted` tokens came out.  `drafted` and `accepted` are None where the engine does not tell
    (prompt lookup on OpenVINO GenAI).  `truncated` marks a step cut by end-of-sequence, a stop
    string or the token limit, whose verdict is observed only up to `observed` draft positions.
    `seconds` is the engine's own wall time of the iteration the step belongs to, and `mixed` says
    that this iteration also held a prefill: such steps are kept out of step latency.  `batch` is
    how many requests the iteration ran.  `ended_ns` is None where no stamp belongs to the step
    alone: its tokens came in a chunk together with others, or in no known order.
    """

    ended_ns: int | None
    emitted: int
    drafted: int | None = None
    accepted: int | None = None
    observed: int | None = None
    truncated: bool = False
    seconds: float = math.nan
    mixed: bool = False
    batch: int | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine has counted of speculation, in one request or in the whole server.

    `drafts` are steps that had a draft, `drafted` and `accepted` are draft tokens in them, before
    any cut at a stop or the token limit.  `accepted_at` counts acceptances of each draft position.
    `steps` are all decode steps, those without a draft too.  None: not told.
    """

    drafts: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    accepted_at: tuple[int, ...] | None = None
    steps: int | None = None


class ServerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A server's own counters since it started: of speculation, and of its prefix cache.

    `cached_tokens` of the inputs were found in the prefix cache; None where that is not told.
    """

    speculation: Counts = Counts()
    cached_tokens: int | None = None


class ChunkCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Chunks held against the steps that the engine counted, for one request.

    Every difference has a cause: `undrafted` chunks of one token belong to steps that had no draft
    and that the engine does not list; `cut` last steps gave fewer tokens than they accepted;
    `merged` steps share a chunk with another, so the chunk is no step.  `residual` counts what none
    of these explains: it must be 0, or one of the two accounts is wrong.
    """

    chunks: int
    steps: int
    undrafted: int = 0
    cut: int = 0
    merged: int = 0
    residual: int = 0

    @property
    def passed(self) -> bool:
        """Whether every chunk after the prefill's is one step."""
        return not self.merged and not self.residual


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine's recorded bytes say about one request.

    `n_prefill_tokens` tokens came with the prefill and belong to no step.  `n_output_tokens` is the
    engine's own count (None where it gives none), against which chunks and steps are checked.
    `counts` are the engine's own sums over the request, as it gave them, and `chunk_check` compares
    chunks with steps where there are both.  Where the engine told no single step but their sums,
    `steps` is empty and `counts.steps` is not None.  `n_cached_tokens` of the input were found in
    the prefix cache.
    """

    chunks: tuple[Chunk, ...]
    steps: tuple[Step, ...] = ()
    tier: Tier = "none"
    n_prefill_tokens: int | None = None
    n_input_tokens: int | None = None
    n_output_tokens: int | None = None
    n_cached_tokens: int | None = None
    finish_reason: str | None = None
    counts: Counts | None = None
    chunk_check: ChunkCheck | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What of a response goes back to the engine in the next turn, and to which input it belongs.

    `token_ids` is None where the engine gave none.
    """

    input_hash: str
    text: str
    token_ids: tuple[int, ...] | None = None

    @classmethod
    def of(cls, request: Request, response: Response) -> Answer:
        """Return the answer that `response` gives to `request`."""
        chunks = response.chunks
        ids = None
        if all(chunk.token_ids is not None for chunk in chunks):
            ids = tuple(token for chunk in chunks for token in chunk.token_ids or ())
        text = "".join(chunk.text for chunk in chunks)
        return cls(input_hash=request.input_hash, text=text, token_ids=ids)


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A request that did not finish, as data: when, what kind, and one sentence of detail."""

    at_ns: int
    kind: str
    detail: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One measured configuration.

    `draft_length` is None without speculation; `pair` tells variants of the demo pair apart and is
    empty for other models.  In an open loop `arrivals` says how requests arrive, for example
    ``2.5rps-poisson``, and `concurrency` is the most that may be in flight, None for any number.
    """

    engine: str
    method: str
    draft_length: int | None
    concurrency: int | None
    repeat: int = 0
    pair: str = ""
    arrivals: str = ""

    @property
    def name(self) -> str:
        """The name of the cell's directory, unique within a study.

        >>> Cell(engine="embedded", method="draft_model", draft_length=3, concurrency=4).name
        'embedded-draft_model-k3-c4-r0'
        """
        pair = "" if self.pair in ("", "expanded") else f"-{self.pair}"
        draft = "" if self.draft_length is None else f"-k{self.draft_length}"
        load = f"-{self.arrivals}" if self.arrivals else ""
        load += "" if self.concurrency is None else f"-c{self.concurrency}"
        return f"{self.engine}{pair}-{self.method}{draft}{load}-r{self.repeat}"


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number with what it estimates, on which evidence, and how uncertain it is.

    `low` and `high` bound the interval of level `confidence`; both are NaN where no interval can be
    given, and `note` says why.  `value` is NaN, with `n` = 0, where the estimand is undefined.
    `n` counts the independent units (prompts, unless the unit is named in `note`).
    """

    estimand: str
    value: float
    low: float
    high: float
    n: int
    unit: str
    evidence: str
    confidence: float = 0.95
    note: str = ""

    @classmethod
    def undefined(cls, estimand: str, unit: str, note: str, evidence: str = "none") -> Estimate:
        """Return the estimate of something that cannot be computed, saying why.

        >>> Estimate.undefined("al_per_step", "tokens/step", "no decode step").value
        nan
        """
        return cls(
            estimand=estimand,
            value=math.nan,
            low=math.nan,
            high=math.nan,
            n=0,
            unit=unit,
            evidence=evidence,
            note=note,
        )


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate placed: of which cell (or pair of cells) and which slice of the data.

    `cell` holds engine, method, draft_length, concurrency as far as they apply; `slice` is empty
    for the whole run, or for example ``{"category": "coding"}``.
    """

    cell: Mapping[str, str | int | None]
    slice: Mapping[str, str]
    estimate: Estimate


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a run or a study can say, as it stands in ``summary.json``.

    `facts` are settings and measured constants of the engine, `counts` what was sent and what came
    of it, `notes` the words of warning that belong beside the numbers.
    """

    kind: Literal["run", "study"]
    title: str
    estimates: list[Row]
    decisions: list[dict[str, Any]] = []
    counts: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    notes: list[str] = []
    schema_version: int = 1


class HttpCall(msgspec.Struct, frozen=True, kw_only=True):
    """One streaming POST: what an engine adapter makes of a request, and the load client sends."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
