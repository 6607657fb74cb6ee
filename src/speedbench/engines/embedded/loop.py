"""The engine itself: OpenVINO GenAI's continuous batching, driven one `step()` at a time.

What a step tells (OpenVINO GenAI 2026.4): after `step()`, `handle.read()` gives the token ids that
this step emitted for a request.  It does not tell how many tokens were drafted.  For a draft model
the number is known all the same, because the drafter always proposes `num_assistant_tokens`, except
close to the token limit, where it stops one short of the limit (`multistep` in GenAI's
continuous_batching/pipeline_impl.cpp); for prompt lookup it is unknown.  One exception cannot be
seen: a drafter that proposes end-of-sequence stops there.  The positions behind it count as
drafted though they were not, which lowers accepted / drafted a little and moves no conditional
rate, because no step gets past a rejected end-of-sequence.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

MAX_NGRAM_SIZE = 3
# One prompt may fill the context; several prefill in one iteration.
MAX_BATCHED_TOKENS = 16_384
MAX_SEQUENCES = 256
CACHE_GB = 1


@dataclass(frozen=True)
class Method:
    """How the engine speculates: ``none``, ``ngram`` or ``draft_model``."""

    name: str
    draft_length: int | None


@dataclass(frozen=True)
class Output:
    """What one iteration emitted for one request; at its end also the engine's own token count."""

    token_ids: list[int]
    drafted: int | None
    finish_reason: str | None
    n_generated: int | None


@dataclass(frozen=True)
class Iteration:
    """One `step()`: when it ended, how long it took, what it ran and what came out."""

    index: int
    ended_ns: int
    seconds: float
    mixed: bool
    batch: int
    outputs: dict[int, Output]


@dataclass
class _Running:
    handle: Any
    max_tokens: int
    sampled: bool
    n_emitted: int = field(default=0)


class EngineLoop:
    """Holds the pipeline and the requests that run in it.

    `mixed` iterations contain the prefill of at least one request: they are no decode steps of
    anybody else either, because everybody waited for the prefill.
    """

    def __init__(self, target: Path, drafter: Path | None, method: Method, *, threads: int) -> None:
        self.method = method
        self._running: dict[int, _Running] = {}
        self._n_iterations = 0
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f32",
            "INFERENCE_NUM_THREADS": threads,
        }
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = CACHE_GB
        scheduler.max_num_batched_tokens = MAX_BATCHED_TOKENS
        scheduler.max_num_seqs = MAX_SEQUENCES
        # Prefills share their iteration with everybody's decode step.  The other way, in which
        # a prefill has an iteration to itself, breaks prompt lookup: GenAI 2026.4 appends
        # candidates to every request before every iteration, also to those that the iteration
        # then leaves out, and takes the first ones for generated (docs/decisions/0004).
        scheduler.dynamic_split_fuse = True
        scheduler.enable_prefix_caching = False  # a repeat must cost what the first run cost
        extra: dict[str, Any] = {}
        if method.name == "draft_model":
            extra["draft_model"] = genai.draft_model(str(drafter), "CPU", **properties)
        elif method.name == "ngram":
            extra["prompt_lookup"] = True
        self._pipeline = genai.ContinuousBatchingPipeline(
            str(target), scheduler, "CPU", {**properties, **extra}
        )

    @property
    def busy(self) -> bool:
        """Whether any request is running."""
        return bool(self._running)

    def add(self, key: int, input_ids: list[int], options: dict[str, Any]) -> None:
        """Hand a request to the scheduler; the next `step` prefills it."""
        config = genai.GenerationConfig()
        config.max_new_tokens = options["max_tokens"]
        config.eos_token_id = self._pipeline.get_config().eos_token_id
        config.ignore_eos = options.get("ignore_eos", False)
        config.frequency_penalty = options.get("frequency_penalty", 0.0)
        sampled = (temperature := options.get("temperature", 0.0)) > 0
        if sampled:
            config.do_sample = True
            config.temperature = temperature
            config.rng_seed = options.get("seed", 0)
        if self.method.draft_length is not None:
            config.num_assistant_tokens = self.method.draft_length
        if self.method.name == "ngram":
            config.max_ngram_size = MAX_NGRAM_SIZE
        tensor = ov.Tensor(np.array([input_ids], dtype=np.int64))
        handle = self._pipeline.add_request(key, tensor, config)
        self._running[key] = _Running(handle, options["max_tokens"], sampled)

    def cancel(self, key: int) -> None:
        """Forget a request whose client went away."""
        if running := self._running.pop(key, None):
            running.handle.cancel()

    def step(self) -> Iteration:
        """Run one iteration of the engine and read what every request got from it."""
        mixed = any(running.n_emitted == 0 for running in self._running.values())
        started_ns = time.monotonic_ns()
        self._pipeline.step()
        ended_ns = time.monotonic_ns()
        outputs = {
            key: output
            for key, running in list(self._running.items())
            if (output := self._read(key, running)) is not None
        }
        self._n_iterations += 1
        seconds = (ended_ns - started_ns) * 1e-9
        return Iteration(self._n_iterations, ended_ns, seconds, mixed, len(outputs), outputs)

    def _read(self, key: int, running: _Running) -> Output | None:
        """Return what the last iteration emitted for a request, None if it had no part in it."""
        token_ids: list[int] = []
        finish_reason = None
        while running.handle.can_read():
            (generated,) = running.handle.read().values()
            token_ids.extend(generated.generated_ids)
            finish_reason = _FINISH_REASONS.get(generated.finish_reason, finish_reason)
        status = running.handle.get_status()
        if status != genai.GenerationStatus.RUNNING and finish_reason is None:
            finish_reason = _STATUS_REASONS.get(status, "stop")
        n_generated = None
        if finish_reason is not None:
            del self._running[key]
            n_generated = running.handle.get_perf_metrics().get_num_generated_tokens()
        elif not token_ids:
            return None
        drafted = self._drafted(running)
        running.n_emitted += len(token_ids)
        if n_generated is not None and running.sampled and self.method.name == "draft_model":
            # Here GenAI also counts tokens that it took back: what came out is all there is to say.
            n_generated = running.n_emitted
        return Output(token_ids, drafted, finish_reason, n_generated)

    def _drafted(self, running: _Running) -> int | None:
        """How many tokens were drafted for the step that just ended; None where nobody can know."""
        if running.n_emitted == 0 or self.method.name == "none":
            return 0
        if self.method.name == "ngram" or self.method.draft_length is None:
            return None
        return min(self.method.draft_length, running.max_tokens - 1 - running.n_emitted)


_FINISH_REASONS = {
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}
_STATUS_REASONS = {
    genai.GenerationStatus.IGNORED: "out_of_memory",
    genai.GenerationStatus.CANCEL: "cancelled",
}
