"""The engines: how to ask each one, and what its bytes say about speculation."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from speedbench.engines.embedded import EmbeddedEngine
from speedbench.engines.llama_cpp import LlamaCppEngine
from speedbench.engines.openai import OpenAIEngine
from speedbench.engines.protocol import (
    About,
    CountsSpeculation,
    DescribesItself,
    Engine,
    StreamError,
    Tokenizes,
)
from speedbench.engines.sglang import SGLangEngine
from speedbench.engines.tensorrt_llm import TensorRTLLMEngine
from speedbench.engines.vllm import VLLMEngine
from speedbench.errors import CallError, UnknownNameError

CATALOG: dict[str, type[Engine]] = {
    "embedded": EmbeddedEngine,
    "openai": OpenAIEngine,
    "vllm": VLLMEngine,
    "sglang": SGLangEngine,
    "tensorrt_llm": TensorRTLLMEngine,
    "llama_cpp": LlamaCppEngine,
}
"""Every engine of ours by its name on the command line."""

ENTRY_POINTS = "speedbench.engines"
"""The group under which other packages offer an engine: its name, and a class without arguments."""


def engine(name: str) -> Engine:
    """Return the adapter called `name`, ours or another package's.

    Raises
    ------
    UnknownNameError
        For a name that nobody offers.
    CallError
        For an engine of another package that cannot be loaded.

    Examples
    --------
    >>> engine("embedded").takes_token_ids
    True
    >>> engine("vlllm")
    Traceback (most recent call last):
    speedbench.errors.UnknownNameError: unknown engine 'vlllm': did you mean 'vllm'? Known: ...
    """
    if name in CATALOG:
        return CATALOG[name]()
    offered = _offered()
    if name not in offered:
        raise UnknownNameError("engine", name, [*CATALOG, *offered])
    try:
        adapter: Engine = offered[name].load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise CallError(
            f"engine {name!r} is offered by {offered[name].value!r}, which cannot be loaded: "
            f"{error}"
        ) from error
    return adapter


def _offered() -> dict[str, EntryPoint]:
    """Return the engines of other packages; none takes the place of ours."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


__all__ = [
    "CATALOG",
    "About",
    "CountsSpeculation",
    "DescribesItself",
    "Engine",
    "StreamError",
    "Tokenizes",
    "engine",
]
