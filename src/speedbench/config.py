"""What a run is asked to do: one frozen tree, unknown keys rejected, validated once.

Every problem of a configuration is reported at once, each under the name its option has on the
command line.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from speedbench.errors import CallError, UnknownNameError
from speedbench.records import Cell, Sampling

EMBEDDED_METHODS = ("none", "ngram", "draft_model")
MAX_EMBEDDED_DRAFT_LENGTH = 8
DEFAULT_DRAFT_LENGTH = 3
PAIRS = ("expanded", "unexpanded", "drafter")
"""The demo target made as slow as a real one beside its drafter; as it is; the drafter alone."""
AS_SERVED = "as_served"
"""The method of a server that somebody else started: whatever it does, it does."""


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


class OpenAIConfig(_Frozen):
    """A running OpenAI-compatible server."""

    engine: Literal["openai"] = "openai"
    base_url: str
    model: str | None = None

    @model_validator(mode="after")
    def _is_http(self) -> Self:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError("--base-url: must begin with http:// or https://")  # may hold a secret
        if "@" in self.base_url.split("//")[1].split("/")[0]:  # it would stand in the manifest
            raise ValueError("--base-url: leave the credentials out and set SPEEDBENCH_API_KEY")
        return self


class DataConfig(_Frozen):
    """Which prompts."""

    source: str = "mini"
    categories: tuple[str, ...] = ()
    num_prompts: int | None = None
    max_turns: Annotated[int, Field(ge=1)] | None = None


class LoadConfig(_Frozen):
    """How hard: the number of conversations in flight."""

    concurrency: Annotated[int, Field(ge=1, le=4096)] = 1


class SamplingConfig(_Frozen):
    """What the engine's sampler is asked for."""

    max_tokens: Annotated[int, Field(ge=1, le=131_072)] = 128
    temperature: Annotated[float, Field(ge=0.0, le=5.0)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] = 0.0


EngineConfig = Annotated[EmbeddedConfig | OpenAIConfig, Field(discriminator="engine")]


class RunConfig(_Frozen):
    """One run: one engine, one data set, one load."""

    engine: EngineConfig
    data: DataConfig = DataConfig()
    load: LoadConfig = LoadConfig()
    sampling: SamplingConfig = SamplingConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    repeat: Annotated[int, Field(ge=0)] = 0

    @property
    def cell(self) -> Cell:
        """The cell that this run measures."""
        engine = self.engine
        how: dict[str, Any] = {"method": AS_SERVED, "draft_length": None}
        if isinstance(engine, EmbeddedConfig):
            how = engine.model_dump(include={"method", "draft_length", "pair"})
        return Cell(
            engine=engine.engine, concurrency=self.load.concurrency, repeat=self.repeat, **how
        )

    @property
    def sampling_record(self) -> Sampling:
        """The sampling parameters as they go into every request."""
        return Sampling(**self.sampling.model_dump(), seed=self.seed)


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
