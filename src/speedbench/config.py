"""What a run is asked to do: one frozen tree, unknown keys rejected, validated once.

Every problem of a configuration is reported at once, each under the name its option has on the
command line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    field_serializer,
    model_validator,
)

from speedbench.errors import CallError, UnknownNameError
from speedbench.records import Cell, Sampling

EMBEDDED_METHODS = ("none", "ngram", "draft_model")
MAX_EMBEDDED_DRAFT_LENGTH = 8
DEFAULT_DRAFT_LENGTH = 3
PAIRS = ("expanded", "unexpanded", "drafter")
"""The demo target made as slow as a real one beside its drafter; as it is; the drafter alone."""
ARRIVALS = ("poisson", "constant")
STAMPS = ("kernel", "read")
"""Who stamps arrivals: the kernel, where it can, or this program after each read."""
PREFLIGHTS = ("stop", "warn", "off")
"""What happens when a server is not what it is said to be."""
FAILURES_FORGIVEN = 10
MASK = "***"
_NAMES_A_KEY = re.compile(r"^-.*(key|token|secret|password)$", re.IGNORECASE)
_FAILURES = re.compile(r"\d+|\d+(\.\d+)?%")
AS_SERVED = "as_served"
"""The method of a server of which nothing is said: whatever it does, it does."""
MESSAGES = "none"
"""The tokenizer of a run whose prompts go out as messages, whatever is on this machine."""
SERVER_METHODS = (
    "none",
    "ngram",
    "draft_model",
    "eagle",
    "eagle3",
    "mtp",
    "medusa",
    "suffix",
    "other",
)
"""How servers of real engines speculate, under one name for all of them."""
MAX_DRAFT_LENGTH = 64


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EmbeddedConfig(_Frozen):
    """The embedded engine: OpenVINO GenAI on the demo pair."""

    engine: Literal["embedded"] = "embedded"
    method: str = "none"
    draft_length: int | None = None
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    pair: str = "expanded"

    @model_validator(mode="before")
    @classmethod
    def _default_draft_length(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("method", "none") != "none" and values.get("draft_length") is None:
            return {**values, "draft_length": DEFAULT_DRAFT_LENGTH}
        return values

    @model_validator(mode="after")
    def _draft_length_fits_method(self) -> Self:
        if self.method not in EMBEDDED_METHODS:
            raise ValueError(str(UnknownNameError("method", self.method, EMBEDDED_METHODS)))
        if self.pair not in PAIRS:
            raise ValueError(str(UnknownNameError("pair", self.pair, PAIRS)))
        if self.method == "none" and self.draft_length is not None:
            raise ValueError(
                f"--draft-length {self.draft_length}: method 'none' drafts nothing; leave it out "
                "or choose --method ngram or draft_model"
            )
        if (
            self.draft_length is not None
            and not 1 <= self.draft_length <= MAX_EMBEDDED_DRAFT_LENGTH
        ):
            raise ValueError(
                f"--draft-length {self.draft_length}: must lie between 1 and "
                f"{MAX_EMBEDDED_DRAFT_LENGTH} on the embedded engine"
            )
        return self


class LaunchConfig(_Frozen):
    """How an engine's server is started, if it is ours to start.

    `program` takes the place of the template's first words; `args` follow its last.  `command` is a
    command of one's own, in which ``{port}``, ``{host}``, ``{model}``, ``{drafter}`` and
    ``{draft_length}`` are filled in.
    """

    drafter: str | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    args: tuple[str, ...] = ()
    program: str | None = None
    command: str | None = None
    timeout: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1800.0

    @field_serializer("args")
    def _args_without_secrets(self, args: tuple[str, ...]) -> list[str]:
        return public_words(args)

    @field_serializer("command")
    def _command_without_secrets(self, command: str | None) -> str | None:
        return None if command is None else " ".join(public_words(command.split(" ")))


class ServerConfig(_Frozen):
    """A server of a real engine, already running (`base_url`) or to be started (`launch`).

    A query in `base_url` goes with every request; its values, and those of `headers`, may be keys
    and are masked wherever the configuration is written.  `method` and `draft_length` are what the
    server is said to do, which is checked before anything is measured; without them it does
    whatever it does.  `tokenizer` is a directory or a hub id, with `tokenizer_revision`; without it
    prompts go out as messages.
    """

    engine: str
    base_url: str | None = None
    model: str | None = None
    headers: dict[str, SecretStr] = {}
    ca_file: Path | None = None
    method: str = AS_SERVED
    draft_length: Annotated[int, Field(ge=1, le=MAX_DRAFT_LENGTH)] | None = None
    tokenizer: str | None = None
    tokenizer_revision: str | None = None
    trust_remote_code: bool = False
    launch: LaunchConfig | None = None

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.method not in (*SERVER_METHODS, AS_SERVED):
            raise ValueError(str(UnknownNameError("method", self.method, SERVER_METHODS)))
        if self.draft_length is not None and self.method in ("none", AS_SERVED):
            raise ValueError(
                f"--draft-length {self.draft_length}: say which --method drafts so many tokens"
            )
        if self.tokenizer_revision is not None and self.tokenizer is None:
            raise ValueError("--tokenizer-revision: belongs to a --tokenizer")
        for name, value in self.headers.items():
            if any(c in name + value.get_secret_value() for c in "\r\n") or not name.strip():
                raise ValueError("--header: must be one line, NAME: VALUE")
        return self

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if self.launch is not None:
            if self.base_url is not None:
                raise ValueError("--base-url: belongs to a running server; leave out --launch")
            if self.model is None and self.launch.command is None:
                raise ValueError("--model: is needed with --launch, a directory or a hub id")
            return self
        if self.base_url is None:
            raise ValueError("--base-url is needed, or --launch to start the server")
        _check_url(self.base_url)
        return self

    @field_serializer("base_url")
    def _without_secrets(self, url: str | None) -> str | None:
        return None if url is None else public_url(url)


def _check_url(url: str) -> None:
    """Refuse what is no URL of a server, without showing it: it may hold a key."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("--base-url: must begin with http:// or https://")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError("--base-url: is no URL that can be read") from error
    if not parts.hostname:
        raise ValueError("--base-url: names no server")
    if "@" in parts.netloc:
        raise ValueError("--base-url: leave the credentials out and set SPEEDBENCH_API_KEY")


class ChatConfig(_Frozen):
    """How a prompt becomes a conversation: what comes before it, and the template's arguments.

    `template_args` are what a chat template may take, for example ``{"enable_thinking": false}``
    or ``{"reasoning_effort": "low"}``.
    """

    system: str | None = None
    template_args: dict[str, Any] = {}


class DataConfig(_Frozen):
    """Which prompts."""

    source: str = "mini"
    categories: tuple[str, ...] = ()
    num_prompts: int | None = None
    max_turns: Annotated[int, Field(ge=1)] | None = None


Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


Limit = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class TimeoutConfig(_Frozen):
    """How long to wait, in seconds, before a request has failed; 0 for as long as it takes."""

    connect_timeout: Limit = 10.0
    first_byte_timeout: Limit = 600.0
    between_bytes_timeout: Limit = 300.0
    total_timeout: Limit = 0.0


class LoadConfig(_Frozen):
    """How hard, in which shape, and what happens when requests fail.

    Without a rate or recorded arrivals the loop is closed: `concurrency` conversations are in
    flight, ramped up over `ramp` seconds.  With one of them it is open, and `concurrency`, if
    given, is the most that may be in flight.
    """

    concurrency: Annotated[int, Field(ge=1, le=65_536)] | None = None
    request_rate: Annotated[float, Field(gt=0.0, le=1e6, allow_inf_nan=False)] | None = None
    arrivals: str = "poisson"
    arrival_times: Path | None = None
    duration: Seconds | None = None
    ramp: Limit = 0.0
    warm_up: Annotated[int, Field(ge=0, le=10_000)] = 1
    history: Path | None = None
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    stamps: str = "kernel"
    timeouts: TimeoutConfig = TimeoutConfig()
    retries: Annotated[int, Field(ge=0, le=20)] = 0
    max_failures: str = "10%"

    @model_validator(mode="after")
    def _makes_one_shape(self) -> Self:
        if self.arrivals not in ARRIVALS:
            raise ValueError(str(UnknownNameError("arrivals", self.arrivals, ARRIVALS)))
        if self.stamps not in STAMPS:
            raise ValueError(str(UnknownNameError("stamps", self.stamps, STAMPS)))
        if self.request_rate is not None and self.arrival_times is not None:
            raise ValueError("--request-rate and --arrival-times: give one of them")
        if self.open_loop and self.ramp:
            raise ValueError("--ramp: belongs to a closed loop; an open one starts at its rate")
        if not _FAILURES.fullmatch(self.max_failures):
            raise ValueError(
                f"--max-failures {self.max_failures!r}: give a number of requests or a share like "
                "5%"
            )
        return self

    @property
    def open_loop(self) -> bool:
        """Whether requests come at their own times, whatever the server does."""
        return self.request_rate is not None or self.arrival_times is not None

    @property
    def limit(self) -> int | None:
        """The most conversations in flight; None for any number."""
        return self.concurrency if self.open_loop else self.concurrency or 1

    def failures_allowed(self, n_requests: int | None) -> int:
        """Return how many requests may fail before the run itself has failed.

        Of a share at least `FAILURES_FORGIVEN`, so that one bad request never costs a small run;
        of a run of unknown size just as many.

        >>> LoadConfig().failures_allowed(880), LoadConfig(max_failures="0").failures_allowed(880)
        (88, 0)
        """
        if not self.max_failures.endswith("%"):
            return int(self.max_failures)
        share = float(self.max_failures.removesuffix("%")) / 100
        return max(FAILURES_FORGIVEN, int(share * (n_requests or 0)))

    @property
    def arrivals_name(self) -> str:
        """How requests arrive, for the name of the cell; empty in a closed loop."""
        if self.arrival_times is not None:
            return f"recorded-{self.arrival_times.stem}"
        return "" if self.request_rate is None else f"{self.request_rate:g}rps-{self.arrivals}"


class SamplingConfig(_Frozen):
    """What the engine's sampler is asked for."""

    max_tokens: Annotated[int, Field(ge=1, le=131_072)] = 128
    temperature: Annotated[float, Field(ge=0.0, le=5.0)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] = 0.0


def _kind(engine: Any) -> str:
    name = engine.get("engine") if isinstance(engine, dict) else engine.engine
    return "embedded" if name == "embedded" else "server"


EngineConfig = Annotated[
    Annotated[EmbeddedConfig, Tag("embedded")] | Annotated[ServerConfig, Tag("server")],
    Discriminator(_kind),
]


class RunConfig(_Frozen):
    """One run: one engine, one data set, one load."""

    engine: EngineConfig
    data: DataConfig = DataConfig()
    load: LoadConfig = LoadConfig()
    sampling: SamplingConfig = SamplingConfig()
    chat: ChatConfig = ChatConfig()
    preflight: str = "stop"
    seed: Annotated[int, Field(ge=0)] = 0
    repeat: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _preflight_is_known(self) -> Self:
        if self.preflight not in PREFLIGHTS:
            raise ValueError(str(UnknownNameError("preflight", self.preflight, PREFLIGHTS)))
        return self

    @property
    def cell(self) -> Cell:
        """The cell that this run measures."""
        engine = self.engine
        how = engine.model_dump(include={"method", "draft_length", "pair"})
        return Cell(
            engine=engine.engine,
            concurrency=self.load.limit,
            repeat=self.repeat,
            arrivals=self.load.arrivals_name,
            **how,
        )

    @property
    def sampling_record(self) -> Sampling:
        """The sampling parameters as they go into every request."""
        return Sampling(**self.sampling.model_dump(), seed=self.seed)


def public_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command without the values of options that name a key.

    >>> public_words(["serve", "--api-key", "sesame", "--hf-token=sesame", "--max-tokens", "8"])
    ['serve', '--api-key', '***', '--hf-token=***', '--max-tokens', '8']
    """
    shown: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        if shown and _NAMES_A_KEY.search(shown[-1]) and not word.startswith("-"):
            shown.append(MASK)
        elif equals and _NAMES_A_KEY.search(name):
            shown.append(f"{name}={MASK}")
        else:
            shown.append(word)
    return shown


def public_url(url: str) -> str:
    """Return a URL without the values of its query.

    >>> public_url("http://h:1/?api-key=sesame&v=2")
    'http://h:1/?api-key=***&v=***'
    """
    parts = urlsplit(url)
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    query = "&".join(f"{name}={MASK}" for name in names) or (MASK if parts.query else "")
    return parts._replace(query=query, fragment="").geturl()


def validated(values: dict[str, Any]) -> RunConfig:
    """Return the configuration of a run.

    Raises
    ------
    CallError
        With every problem in one text.

    Examples
    --------
    >>> validated({"engine": {"engine": "embedded", "method": "ngram"}}).cell.name
    'embedded-ngram-k3-c1-r0'
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise CallError("; ".join(_sentence(problem) for problem in error.errors())) from error


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return str(message)
    option = "--" + str(problem["loc"][-1]).replace("_", "-") if problem["loc"] else "the call"
    if problem["type"] == "missing":
        return f"{option} is needed"
    if problem["type"] == "extra_forbidden":
        return f"{option} does not belong to this engine"
    return f"{option} {problem['input']!r}: {message[:1].lower()}{message[1:]}"
