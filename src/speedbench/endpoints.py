"""Engines that are up: attached to, or started first, and what they are."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from speedbench import launch, load
from speedbench.config import (
    AS_SERVED,
    MESSAGES,
    EmbeddedConfig,
    LaunchConfig,
    RunConfig,
    ServerConfig,
    public_words,
)
from speedbench.engines import About, Engine, engine
from speedbench.engines.embedded.models import demo_pair_path, pair_facts
from speedbench.errors import EngineError
from speedbench.records import Request
from speedbench.tokenization import ChatTokenizer, chat_tokenizer

Waiting = Callable[[float, str], None]
"""Told how long an engine has been starting, in seconds, and the last line of its log."""


@dataclass(frozen=True)
class Endpoint:
    """An engine that is up: where it is, how to talk to it, and what it is."""

    target: load.Target
    session: aiohttp.ClientSession
    adapter: Engine
    model: str
    tokenizer: ChatTokenizer | None
    max_context: int | None
    facts: dict[str, Any]
    about: About = field(default_factory=About)

    @property
    def wire(self) -> load.Wire:
        """How a request becomes bytes, and bytes an answer."""

        def payload(request: Request) -> bytes:
            return self.target.payload(self.adapter.build_request(request, model=self.model))

        return load.Wire(payload, self.adapter.decode)

    @property
    def server(self) -> launch.Server:
        """Whom to ask what is not part of the load."""
        return launch.Server(
            self.session, self.target, self.adapter, self.model, self.tokenizer, self.about
        )


def _ignore(waited_s: float, line: str) -> None:
    """Say nothing while an engine starts."""


@asynccontextmanager
async def endpoint(
    config: RunConfig, directory: Path, waiting: Waiting = _ignore
) -> AsyncIterator[Endpoint]:
    """Connect to the engine of `config`, started first if it is ours to start.

    Parameters
    ----------
    config
        The run's configuration.
    directory
        The run's directory: the log of a launched engine goes there, and files that it needs.
    waiting
        Told how the start goes.
    """
    adapter = engine(config.engine.engine)
    async with AsyncExitStack() as stack:
        match config.engine:
            case EmbeddedConfig() as ours:
                yield await _start_embedded(stack, adapter, ours, config, directory)
            case ServerConfig(launch=None) as running:
                yield await _attach(stack, adapter, running, config, running.base_url or "", {})
            case ServerConfig() as wanted:
                url, facts = _start_server(stack, wanted, directory, waiting)
                yield await _attach(stack, adapter, wanted, config, url, facts)


async def _attach(
    stack: AsyncExitStack,
    adapter: Engine,
    server: ServerConfig,
    config: RunConfig,
    url: str,
    launched: dict[str, Any],
) -> Endpoint:
    headers = {name: value.get_secret_value() for name, value in server.headers.items()}
    if key := os.environ.get("SPEEDBENCH_API_KEY"):
        headers.setdefault("Authorization", f"Bearer {key}")
    target = load.Target(url, headers, server.ca_file)
    session = await stack.enter_async_context(launch.open_session(target))
    served = None if launched else server.model
    identity = await launch.identify(session, target, served)
    _check_engine(target, adapter, identity)
    about = await launch.about(session, target, adapter)
    tokenizer = _tokenizer(adapter, server, config, about)
    where = launched or {"base_url": target.public_url}
    facts = {
        "engine": adapter.name,
        "version": about.version,
        "model": identity.model,
        **where,
        "flags": about.flags,
        "draft_tree": about.tree,
        "target": launch.model_identity(about.model_path or (server.model if launched else None)),
        "drafter": launch.model_identity(
            about.drafter or (server.launch.drafter if server.launch else None)
        ),
        "tokenizer": None if tokenizer is None else tokenizer.facts,
    }
    context = identity.max_context or about.max_context
    return Endpoint(target, session, adapter, identity.model, tokenizer, context, facts, about)


def _check_engine(target: load.Target, adapter: Engine, identity: launch.Identity) -> None:
    """Refuse to read one engine's bytes as another's; any of them is OpenAI-compatible."""
    if adapter.name == "openai" or identity.engine in (None, adapter.name):
        return
    raise EngineError(
        f"{target.public_url} is {identity.engine}, not {adapter.name}: give --engine "
        f"{identity.engine}, or openai for any compatible server"
    )


def _tokenizer(
    adapter: Engine, server: ServerConfig, config: RunConfig, about: About
) -> ChatTokenizer | None:
    """Return the tokenizer whose ids are sent; None for messages.

    Without --tokenizer it is that of the served model, where its directory is on this machine.
    """
    if not adapter.takes_token_ids or server.tokenizer == MESSAGES:
        return None
    source = server.tokenizer
    if source is None:
        for place in (about.model_path, server.model):
            if place is not None and (Path(place) / "tokenizer.json").is_file():
                source = place
    if source is None:
        return None
    return chat_tokenizer(
        source,
        revision=server.tokenizer_revision,
        trust_remote_code=server.trust_remote_code,
        template_args=config.chat.template_args,
    )


def reject_impossible(config: RunConfig) -> None:
    """Refuse a launch that no template allows, before anything is written.

    Raises
    ------
    CallError
        Saying which engine, method or option does not go with which.
    """
    match config.engine:
        case ServerConfig(launch=LaunchConfig()) as server:
            _command(server, port=0)


def _command(server: ServerConfig, port: int) -> launch.LaunchCommand:
    assert server.launch is not None
    how = server.launch
    wanted = launch.Wanted(
        engine=server.engine,
        method="none" if server.method == AS_SERVED else server.method,
        model=server.model or "",
        port=port,
        drafter=how.drafter,
        draft_length=server.draft_length,
        args=how.args,
        program=how.program,
    )
    if how.command is not None:
        return launch.free_form(how.command, wanted)
    return launch.launch_command(wanted)


def _start_server(
    stack: AsyncExitStack, server: ServerConfig, directory: Path, waiting: Waiting
) -> tuple[str, dict[str, Any]]:
    """Start the server of a real engine; return where it is and how it was started."""
    assert server.launch is not None
    port = server.launch.port or launch.free_port()
    command = _command(server, port)
    url = stack.enter_context(
        launch.served(command, port, directory, waiting, timeout_s=server.launch.timeout)
    )
    # The port is left out: a run that goes on later gets another, and is the same run.
    # It is where the command for another port differs.
    elsewhere = _command(server, port + 1).argv
    words = [
        word if word == other else word.replace(str(port), "{port}")
        for word, other in zip(command.argv, elsewhere, strict=True)
    ]
    words = public_words(words)
    return url, {"launched": words, "environment": dict(command.env), "files": dict(command.files)}


async def _start_embedded(
    stack: AsyncExitStack,
    adapter: Engine,
    engine_config: EmbeddedConfig,
    config: RunConfig,
    directory: Path,
) -> Endpoint:
    _require_openvino()
    draft_length = engine_config.draft_length
    draft = [] if draft_length is None else ["--draft-length", str(draft_length)]
    command = [sys.executable, "-m", "speedbench.engines.embedded.server"]
    command += ["--method", engine_config.method, *draft]
    command += ["--threads", str(engine_config.threads), "--pair", engine_config.pair]
    server = stack.enter_context(launch.launched(command, directory / "engine.log"))
    target = load.Target(server.base_url)
    session = await stack.enter_async_context(launch.open_session(target))
    identity = await launch.identify(session, target, None)
    tokenizer = chat_tokenizer(
        str(demo_pair_path() / "target"), template_args=config.chat.template_args
    )
    facts = {"model": identity.model, **await launch.health(session, target)}
    facts |= pair_facts(engine_config.pair)
    return Endpoint(
        target, session, adapter, identity.model, tokenizer, identity.max_context, facts
    )


def _require_openvino() -> None:
    from importlib.util import find_spec

    if find_spec("openvino_genai") is None:
        raise EngineError(
            "the embedded engine needs openvino-genai, which is not installed: "
            "pip install 'speedbench[embedded]'"
        )
