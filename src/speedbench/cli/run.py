"""``speedbench run``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from speedbench.errors import CallError, UnknownNameError

if TYPE_CHECKING:
    from speedbench.config import RunConfig
    from speedbench.records import Summary

RUNS = Path("speedbench-runs")


def run(
    *,
    engine: str = "embedded",
    method: str | None = None,
    draft_length: int | None = None,
    pair: str | None = None,
    base_url: str | None = None,
    model: str | None = None,
    header: Annotated[list[str] | None, Parameter(negative=())] = None,
    ca_file: Path | None = None,
    data: str = "mini",
    category: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    num_prompts: int | None = None,
    max_turns: int | None = None,
    concurrency: Annotated[list[int] | None, Parameter(consume_multiple=True, negative=())] = None,
    ramp: float | None = None,
    request_rate: float | None = None,
    arrivals: str | None = None,
    arrival_times: Path | None = None,
    duration: float | None = None,
    warm_up: int | None = None,
    history: Path | None = None,
    max_tokens: int = 128,
    temperature: float = 0.0,
    frequency_penalty: float = 0.0,
    seed: int = 0,
    connect_timeout: float | None = None,
    first_byte_timeout: float | None = None,
    between_bytes_timeout: float | None = None,
    total_timeout: float | None = None,
    retries: int | None = None,
    max_failures: str | None = None,
    workers: int | None = None,
    stamps: str | None = None,
    output: Path | None = None,
    resume: bool = False,
) -> int:
    """Measure one engine on one data set, at one load or several.

    Parameters
    ----------
    engine
        embedded (OpenVINO GenAI on the demo pair) or openai (any compatible server).
    method
        How the embedded engine speculates: none, ngram or draft_model.
    draft_length
        Tokens proposed per step, 1 to 8 (default 3).
    pair
        The embedded engine's models: expanded (default), unexpanded or drafter.
    base_url
        Where the server of --engine openai answers, without /v1.
    model
        The model's name there; default: the first one it lists.
    header
        NAME: VALUE, sent with every request and written down nowhere; $WORDS in VALUE come from the
        environment. SPEEDBENCH_API_KEY, if set, is sent as a bearer token.
    ca_file
        An authority (PEM) to trust besides the system's, for https.
    data
        mini, or a JSONL file with turns and category.
    category
        Only these categories.
    num_prompts
        So many prompts, spread evenly over the categories.
    max_turns
        Only the first so many turns of each conversation.
    concurrency
        Conversations in flight (default 1). Several numbers: a run for each, under --output. With
        --request-rate or --arrival-times: the most that may be in flight (default: any number).
    ramp
        Seconds over which the conversations of a closed loop begin (default 0: all at once).
    request_rate
        Conversations begin at this rate per second, whatever the server does (open loop).
    arrivals
        How they are spread with --request-rate: poisson (default) or constant.
    arrival_times
        They begin at recorded times: a file with seconds, one a line.
    duration
        Seconds after which nothing new begins; prompts are repeated as long as it takes.
    warm_up
        Requests that are sent first and never counted (default 1).
    history
        In later turns, tell the engine the answers recorded in this run directory instead of its
        own, so that every method of a comparison is asked the same.
    max_tokens
        The longest answer.
    temperature
        Sampling temperature; 0 is greedy.
    frequency_penalty
        Taken from a token's logit for each time it occurred; keeps small models from looping.
    seed
        Decides the order of prompts and is sent as the sampling seed.
    connect_timeout
        Seconds to wait for a connection (default 10; 0, here and below: as long as it takes).
    first_byte_timeout
        Seconds to wait for the beginning of an answer (default 600).
    between_bytes_timeout
        Seconds to wait for an answer to go on (default 300).
    total_timeout
        Seconds that a request may take (default 0).
    retries
        How often a request is repeated that a server could not take (default 0); such requests are
        counted and left out of every time.
    max_failures
        So many requests, or such a share of them, may fail before the run itself fails (default
        10%, but at least 10 requests).
    workers
        Processes that share the load (default: one for each 2048 conversations).
    stamps
        Who stamps what arrives: kernel (default, where the system can) or read.
    output
        The run directory; default: a new one under speedbench-runs.
    resume
        Finish the interrupted run in --output.
    """
    from speedbench.config import validated

    if resume and output is None:
        raise CallError("--resume needs --output: which run is to be finished?")
    load = {
        "ramp": ramp,
        "request_rate": request_rate,
        "arrivals": arrivals,
        "arrival_times": arrival_times,
        "duration": duration,
        "warm_up": warm_up,
        "history": history,
        "retries": retries,
        "max_failures": max_failures,
        "workers": workers,
        "stamps": stamps,
        "timeouts": given(
            connect_timeout=connect_timeout,
            first_byte_timeout=first_byte_timeout,
            between_bytes_timeout=between_bytes_timeout,
            total_timeout=total_timeout,
        ),
    }
    values = {
        "engine": _engine_values(
            engine,
            method=method,
            draft_length=draft_length,
            pair=pair,
            base_url=base_url,
            model=model,
            headers=headers_of(header) if header else None,
            ca_file=ca_file,
        ),
        "data": {
            "source": data,
            "categories": category or (),
            "num_prompts": num_prompts,
            "max_turns": max_turns,
        },
        "sampling": {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "frequency_penalty": frequency_penalty,
        },
        "seed": seed,
    }
    levels: list[int | None] = [*concurrency] if concurrency else [None]
    configs = [validated({**values, "load": given(**load, concurrency=level)}) for level in levels]
    if len({config.load.limit for config in configs}) < len(configs):
        raise CallError("--concurrency: a number is given twice")
    return _measured(configs, output, resume=resume)


def _measured(configs: Sequence[RunConfig], output: Path | None, *, resume: bool) -> int:
    """Measure every configuration, show each, and return the exit code of the worst."""
    # Slow to import, and not needed to refuse a call.
    from speedbench import datasets, pipeline
    from speedbench.cli.progress import announce, progress
    from speedbench.cli.show import show_run

    code = 0
    started = f"{datetime.now():%Y%m%d-%H%M%S}"
    for config in configs:
        name = config.cell.name
        if len(configs) == 1:
            directory = output or RUNS / f"{started}-{name}"
        else:
            directory = (output or RUNS / started) / name
        prompts = pipeline.chosen_prompts(config, datasets.load(config.data.source))
        announce(directory)
        # Of a list that was interrupted, some runs may not have begun.
        resumed = resume and (len(configs) == 1 or directory.exists())
        with progress(pipeline.n_requests(config, prompts)) as observer:
            observer.describe(name)
            result = pipeline.run(config, directory, resume=resumed, observer=observer)
        show_run(result, directory)
        code = max(code, _verdict(config, result))
    return code


def _verdict(config: RunConfig, result: Summary) -> int:
    """Return 4, and say why, when more requests failed than the run may lose."""
    from speedbench.cli.app import complain

    counts = result.counts
    allowed = config.load.failures_allowed(counts["planned"])
    if counts["finished"] and counts["failed"] <= allowed:
        return 0
    kinds = ", ".join(f"{kind} {n}" for kind, n in counts["failures"].items()) or "nothing was sent"
    return complain(
        f"{counts['failed']} requests failed ({kinds}) and {counts['finished']} finished; "
        f"--max-failures allows {allowed}: mend the cause and go on with --resume",
        4,
    )


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def headers_of(lines: Sequence[str]) -> dict[str, str]:
    """Return headers by name; what is wrong with one is said without showing it."""
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise CallError("--header: must be NAME: VALUE")
        expanded = os.path.expandvars(value.strip())
        if re.search(r"\$\w|\$\{", expanded):
            raise CallError(f"--header {name}: names a variable that is not set")
        headers[name.strip()] = expanded
    return headers


def _engine_values(engine: str, **options: Any) -> dict[str, Any]:
    """Return the options that were given, under the engine they were given for."""
    from speedbench.engines import CATALOG

    if engine not in CATALOG:
        raise UnknownNameError("engine", engine, CATALOG)
    return {"engine": engine, **given(**options)}
