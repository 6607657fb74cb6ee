"""``speedbench run``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

RUNS = Path("speedbench-runs")


def run(
    *,
    engine: str = "embedded",
    method: str | None = None,
    draft_length: int | None = None,
    pair: str | None = None,
    base_url: str | None = None,
    model: str | None = None,
    data: str = "mini",
    category: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    num_prompts: int | None = None,
    max_turns: int | None = None,
    concurrency: int = 1,
    max_tokens: int = 128,
    temperature: float = 0.0,
    frequency_penalty: float = 0.0,
    seed: int = 0,
    output: Path | None = None,
    resume: bool = False,
) -> int:
    """Measure one engine on one data set at one load.

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
    data
        mini, or a JSONL file with turns and category.
    category
        Only these categories.
    num_prompts
        So many prompts, spread evenly over the categories.
    max_turns
        Only the first so many turns of each conversation.
    concurrency
        Conversations in flight.
    max_tokens
        The longest answer.
    temperature
        Sampling temperature; 0 is greedy.
    frequency_penalty
        Taken from a token's logit for each time it occurred; keeps small models from looping.
    seed
        Decides the order of prompts and is sent as the sampling seed.
    output
        The run directory; default: a new one under speedbench-runs.
    resume
        Finish the interrupted run in --output.
    """
    from speedbench.config import validated
    from speedbench.errors import CallError

    if resume and output is None:
        raise CallError("--resume needs --output: which run is to be finished?")
    config = validated(
        {
            "engine": _engine_values(engine, method, draft_length, pair, base_url, model),
            "data": {
                "source": data,
                "categories": category or (),
                "num_prompts": num_prompts,
                "max_turns": max_turns,
            },
            "load": {"concurrency": concurrency},
            "sampling": {
                "max_tokens": max_tokens,
                "temperature": temperature,
                "frequency_penalty": frequency_penalty,
            },
            "seed": seed,
        }
    )
    # Slow to import, and not needed to refuse a call.
    from speedbench import datasets, pipeline
    from speedbench.cli.progress import announce, progress
    from speedbench.cli.show import show_run

    prompts = pipeline.chosen_prompts(config, datasets.load(config.data.source))
    directory = output or RUNS / f"{datetime.now():%Y%m%d-%H%M%S}-{config.cell.name}"
    announce(directory)
    with progress(sum(len(prompt.turns) for prompt in prompts)) as observer:
        observer.describe(config.cell.name)
        result = pipeline.run(config, directory, resume=resume, observer=observer)
    show_run(result, directory)
    return 0 if result.counts["finished"] else 4


def _engine_values(
    engine: str,
    method: str | None,
    draft_length: int | None,
    pair: str | None,
    base_url: str | None,
    model: str | None,
) -> dict[str, Any]:
    """Return the options that were given, under the engine they were given for."""
    from speedbench.engines import CATALOG
    from speedbench.errors import UnknownNameError

    if engine not in CATALOG:
        raise UnknownNameError("engine", engine, CATALOG)
    given = {
        "method": method,
        "draft_length": draft_length,
        "pair": pair,
        "base_url": base_url,
        "model": model,
    }
    return {"engine": engine, **{name: v for name, v in given.items() if v is not None}}
