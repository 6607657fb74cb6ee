"""Is a server fit to be measured?  A few small requests, the way a run sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from time import monotonic_ns

import msgspec
import polars as pl

from speedbench import analysis, datasets, launch, pipeline
from speedbench.config import RunConfig, ServerConfig, validated
from speedbench.doctor.verdict import CANNOT_TELL, NO, YES
from speedbench.endpoints import Endpoint, endpoint
from speedbench.records import Failed, Prompt
from speedbench.trace import Trace

CAUTION = "caution"
N_REQUESTS = 3
"""The first pays for what later ones find done, the next two must be alike."""
N_PINGS = 5
MAX_TOKENS = 16
QUESTION = "Count from one to twenty, in words."
TIMEOUT_S = 120.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about the server: trustworthy, caution, cannot tell or not trustworthy."""

    name: str
    verdict: str
    sentence: str


class _Silent:
    """An observer that says nothing."""

    def ended(self, request_id: str, failed: Failed | None) -> None:
        pass

    def received(self, n_reads: int) -> None:
        pass


def server_config(engine: dict[str, object]) -> RunConfig:
    """Return the run that asks the server.

    Raises
    ------
    CallError
        For a URL, header or model that cannot be.
    """
    limits = {"first_byte_timeout": TIMEOUT_S, "between_bytes_timeout": TIMEOUT_S}
    return validated(
        {
            "engine": {"engine": "openai", **engine},
            "load": {"warm_up": 0, "timeouts": limits},
            "sampling": {"max_tokens": MAX_TOKENS},
        }
    )


def checked(config: RunConfig, scratch: Path) -> list[Check]:
    """Ask the server a few things and return what was found.

    Raises
    ------
    EngineError
        When nothing answers, or what answers is no language-model server.
    """
    directory = scratch / "server"
    model, round_trip_ms = asyncio.run(_ask(config, directory))
    found = analysis.read_trace(directory)[1]
    return [
        Check(name="reachable", verdict=YES, sentence=f"answers, and serves {model!r}"),
        _round_trip(round_trip_ms),
        *judged_answers(found),
    ]


def server_exit_code(checks: Sequence[Check]) -> int:
    """Return 1 when something makes the server unfit, 3 when that cannot be told, and 0."""
    verdicts = {check.verdict for check in checks}
    return 1 if NO in verdicts else 3 if CANNOT_TELL in verdicts else 0


async def _ask(config: RunConfig, directory: Path) -> tuple[str, float]:
    prompts = [Prompt(id=f"p{i}", category="qa", turns=(QUESTION,)) for i in range(N_REQUESTS)]
    data = datasets.Dataset("doctor", "0", tuple(prompts))
    with pipeline.opened_run(config, directory, resume=False) as open_run:
        async with endpoint(config, open_run.directory.path) as where:
            round_trip_ms = await _ping(config, where)
            pipeline.begin_run(open_run, data, prompts, where)
            async with pipeline.staffed(open_run, where) as workers:
                await pipeline.measure(open_run, where, workers, prompts, _Silent())
    return where.model, round_trip_ms


async def _ping(config: RunConfig, where: Endpoint) -> float:
    """Return the shortest of a few small requests over one connection; the first opens it."""
    assert isinstance(config.engine, ServerConfig)
    took_ns = []
    async with launch.open_session(where.target, keep_alive=True) as session:
        for _ in range(1 + N_PINGS):
            began_ns = monotonic_ns()
            await launch.identify(session, where.target, config.engine.model)
            took_ns.append(monotonic_ns() - began_ns)
    return min(took_ns[1:]) / 1e6


def _round_trip(round_trip_ms: float) -> Check:
    slow = round_trip_ms > 10
    said = f"a small request takes {round_trip_ms:.2g} ms (shortest of {N_PINGS})"
    if slow:
        said += "; it is part of every TTFT: measure from nearer"
    return Check(name="round trip", verdict=CAUTION if slow else YES, sentence=said)


def judged_answers(found: Trace) -> list[Check]:
    """Judge the answers to the same question, asked several times with temperature 0.

    Parameters
    ----------
    found
        Their trace.
    """
    requests = found.requests
    failed = requests.filter(pl.col("failure_kind").is_not_null())
    if len(failed):
        kind, detail = failed.select("failure_kind", "failure_detail").row(0)
        said = f"{len(failed)} of {len(requests)} requests failed ({kind}): {detail}"
        return [Check(name="answers", verdict=NO, sentence=said)]
    return [
        Check(name="answers", verdict=YES, sentence=f"{len(requests)} requests answered in full"),
        _streams(found),
        _usage(requests),
        _keep_alive(requests),
        _alike(requests),
    ]


def _streams(found: Trace) -> Check:
    """Whether text comes bit by bit: in the answer that came in the most reads."""
    per_request = found.chunks.group_by("request").agg(
        pl.len().alias("chunks"), pl.col("at_ns").n_unique().alias("reads")
    )
    if not len(per_request):
        return Check(name="streams", verdict=CANNOT_TELL, sentence="the answers hold no text")
    n_chunks, n_reads = per_request.select("chunks", "reads").max().row(0)
    tokens = found.requests["n_output_tokens"].drop_nulls().to_list()
    if n_reads > 1:
        said = f"{n_chunks} chunks in {n_reads} reads for {MAX_TOKENS} tokens asked for"
        return Check(name="streams", verdict=YES, sentence=said)
    if n_chunks == 1 and max(tokens, default=1) <= 1:
        said = "the answer is one chunk, perhaps one token: nothing to tell streaming by"
        return Check(name="streams", verdict=CANNOT_TELL, sentence=said)
    said = (
        "the whole answer arrives at once: the server, or a proxy before it, does not stream, and "
        "no time between tokens can be measured"
    )
    return Check(name="streams", verdict=NO, sentence=said)


def _usage(requests: pl.DataFrame) -> Check:
    if requests["n_output_tokens"].null_count():
        said = "no usage.completion_tokens: TPOT and throughput will be unknown"
        return Check(name="usage", verdict=CAUTION, sentence=said)
    tokens = requests["n_output_tokens"].to_list()
    said = f"token counts are reported ({', '.join(map(str, sorted(set(tokens))))})"
    return Check(name="usage", verdict=YES, sentence=said)


def _keep_alive(requests: pl.DataFrame) -> Check:
    later = requests.sort("sent_ns")[1:]
    if later["connect_ns"].null_count() == len(later):
        return Check(name="keep-alive", verdict=YES, sentence="connections are used again")
    said = "the server closes connections: every request opens one, at a cost to both sides"
    return Check(name="keep-alive", verdict=CAUTION, sentence=said)


def _alike(requests: pl.DataFrame) -> Check:
    texts = requests.sort("sent_ns")["output_text"].to_list()
    if len(set(texts[1:])) == 1:
        said = "two equal greedy requests give equal text"
        return Check(name="greedy", verdict=YES, sentence=said)
    said = (
        "two equal greedy requests give different text: outputs of methods cannot be compared word "
        "by word"
    )
    return Check(name="greedy", verdict=CAUTION, sentence=said)
