"""``speedbench run``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from speedbench.errors import CallError

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
    tokenizer: str | None = None,
    tokenizer_revision: str | None = None,
    trust_remote_code: bool = False,
    launch: bool = False,
    drafter: str | None = None,
    port: int | None = None,
    launch_arg: Annotated[
        list[str] | None, Parameter(negative=(), allow_leading_hyphen=True)
    ] = None,
    launch_program: str | None = None,
    launch_command: str | None = None,
    launch_timeout: float | None = None,
    preflight: str | None = None,
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
    system: str | None = None,
    template_arg: Annotated[list[str] | None, Parameter(negative=())] = None,
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
        embedded (OpenVINO GenAI on the demo pair), vllm, sglang, tensorrt_llm, llama_cpp, openai
        (any compatible server), or one that another package offers.
    method
        How the engine speculates: none, ngram, draft_model, and for servers also eagle, eagle3,
        mtp, medusa, suffix or other. Of a running server it is what it is said to do, which is
        checked.
    draft_length
        Tokens proposed per step (embedded: 1 to 8, default 3).
    pair
        The embedded engine's models: expanded (default), unexpanded or drafter.
    base_url
        Where a running server answers, without /v1.
    model
        The model's name there; default: the first one it lists. With --launch: its directory or hub
        id.
    header
        NAME: VALUE, sent with every request and written down nowhere; $WORDS in VALUE come from the
        environment. SPEEDBENCH_API_KEY, if set, is sent as a bearer token.
    ca_file
        An authority (PEM) to trust besides the system's, for https.
    tokenizer
        The served model's tokenizer, a directory or a hub id: prompts are sent as token ids.
        Default: that of the model, if its directory is on this machine; else prompts are sent as
        messages, and the server's tokenizer decides what the model reads. none: as messages in any
        case.
    tokenizer_revision
        Branch, tag or commit of a hub id.
    trust_remote_code
        Let a tokenizer run code of its own.
    launch
        Start the server, measure it, and stop it; --method, --draft-length and --model say how.
    drafter
        The drafter's directory or hub id, for methods that have one.
    port
        Where it is to listen (default: a free port).
    launch_arg
        One more argument for the server's command; may be given again.
    launch_program
        Takes the place of the command's first words, for example a path to the server.
    launch_command
        A command of your own, with {host}, {port}, {model}, {drafter} and {draft_length} where they
        belong.
    launch_timeout
        Seconds to wait until the server is healthy (default 1800).
    preflight
        What to do when a server is not what it is said to be: stop (default), warn or off.
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
    system
        A system prompt for every conversation.
    template_arg
        NAME=VALUE for the model's chat template, for example enable_thinking=false; VALUE is JSON
        or text. May be given again.
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
            tokenizer=tokenizer,
            tokenizer_revision=tokenizer_revision,
            trust_remote_code=trust_remote_code or None,
            launch=_launch_values(
                launch,
                drafter=drafter,
                port=port,
                args=launch_arg,
                program=launch_program,
                command=launch_command,
                timeout=launch_timeout,
            ),
        ),
        "chat": given(
            system=system, template_args=template_args_of(template_arg) if template_arg else None
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
        **given(preflight=preflight),
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


def template_args_of(words: Sequence[str]) -> dict[str, Any]:
    """Return what is told to the chat template.

    >>> template_args_of(["enable_thinking=false", "reasoning_effort=low"])
    {'enable_thinking': False, 'reasoning_effort': 'low'}
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise CallError(f"--template-arg {word!r}: must be NAME=VALUE")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def _launch_values(wanted: bool, **options: Any) -> dict[str, Any] | None:
    """Return how a server is started; None where it is not ours to start."""
    if wanted:
        return given(**options)
    for name in given(**options):
        option = {"drafter": "drafter", "port": "port", "args": "launch-arg"}.get(
            name, f"launch-{name}"
        )
        raise CallError(f"--{option}: belongs to --launch")
    return None


def _engine_values(name: str, **options: Any) -> dict[str, Any]:
    """Return the options that were given, under the engine they were given for."""
    from speedbench.engines import engine

    engine(name)  # an unknown name ends here
    return {"engine": name, **given(**options)}
