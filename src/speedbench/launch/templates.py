"""The commands that start each engine with each method.  Pure: names in, words out.

Each command asks for what a measurement needs: an account of every request's speculation,
counters, and no prefix cache, which would make a second run warmer than the first.  Drafts are
chains, one candidate per position.  Where each flag is defined stands at each template.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from speedbench.errors import CallError, UnknownNameError
from speedbench.launch.ports import HOST


@dataclass(frozen=True)
class LaunchCommand:
    """How a server is started: the command, what its environment adds, where its health is.

    `files` are written into the directory of the launch first, by name; ``{files}`` in the command
    stands for that directory.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    health_path: str = "/health"
    files: Mapping[str, str] = field(default_factory=dict)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be started."""

    engine: str
    method: str
    model: str
    port: int
    drafter: str | None = None
    draft_length: int | None = None
    args: tuple[str, ...] = ()
    program: str | None = None


def launch_command(wanted: Wanted) -> LaunchCommand:
    """Return the command of an engine's template.

    Raises
    ------
    UnknownNameError
        For an engine or method without a template.
    CallError
        For a method that the engine lacks, or one whose drafter or draft length is not given.

    Examples
    --------
    >>> wanted = Wanted(engine="vllm", method="ngram", model="M", port=8000, draft_length=4)
    >>> print(*launch_command(wanted).argv[:7])
    vllm serve M --host 127.0.0.1 --port 8000
    >>> launch_command(Wanted(engine="llama_cpp", method="medusa", model="M", port=8000))
    Traceback (most recent call last):
    speedbench.errors.CallError: llama_cpp has no method 'medusa'; it has none, ngram, ...
    """
    if wanted.engine not in TEMPLATES:
        raise UnknownNameError("engine to launch", wanted.engine, TEMPLATES)
    methods, template = TEMPLATES[wanted.engine]
    if wanted.method not in methods:
        if not any(wanted.method in known for known, _ in TEMPLATES.values()):
            raise UnknownNameError("method", wanted.method, methods)
        raise CallError(
            f"{wanted.engine} has no method {wanted.method!r}; it has {', '.join(methods)}"
        )
    _check_method(wanted)
    command = template(wanted, methods[wanted.method])
    own = PROGRAMS[wanted.engine]
    program = _words("--launch-program", wanted.program) if wanted.program else own
    return LaunchCommand(
        (*program, *command.argv, *wanted.args), command.env, command.health_path, command.files
    )


def free_form(command: str, wanted: Wanted) -> LaunchCommand:
    """Return a command of the user's own, with ``{port}`` and the like filled in.

    Raises
    ------
    CallError
        When it does not say where the port goes.
    """
    if "{port}" not in command:
        raise CallError("--launch-command: must hold {port}, where the server is to listen")
    values = {
        "host": HOST,
        "port": str(wanted.port),
        "model": wanted.model,
        "drafter": wanted.drafter or "",
        "draft_length": "" if wanted.draft_length is None else str(wanted.draft_length),
    }
    places = re.compile("{(" + "|".join(values) + ")}")
    words = [
        places.sub(lambda place: values[place[1]], word)
        for word in _words("--launch-command", command)
    ]
    return LaunchCommand((*words, *wanted.args), {})


def _words(option: str, command: str) -> Sequence[str]:
    """Return a command as words, quotes read as a shell reads them."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise CallError(f"{option}: {str(error).lower()}") from error


def _check_method(wanted: Wanted) -> None:
    method = wanted.method
    if method == "none":
        if wanted.drafter is not None:
            raise CallError("--drafter: method 'none' has no drafter; choose another --method")
        return
    if wanted.drafter is not None and method in DRAFTS_FROM_TEXT:
        raise CallError(f"--drafter: {method} drafts from the text and has no model of its own")
    if wanted.draft_length is None:
        raise CallError(f"--draft-length is needed: how many tokens does {method} draft per step?")
    if method in NEEDS_DRAFTER and wanted.drafter is None:
        raise CallError(f"--drafter is needed: {method} drafts with a model of its own")


def _vllm(wanted: Wanted, method: str) -> LaunchCommand:
    # vLLM 0.32: vllm/engine/arg_utils.py; the methods are in vllm/config/speculative.py.
    # `vllm serve` takes the model by its place, the older vllm.entrypoints.openai.api_server not.
    by_place = wanted.program is None or wanted.program.endswith(" serve")
    argv = [wanted.model] if by_place else ["--model", wanted.model]
    argv += ["--host", HOST, "--port", str(wanted.port), "--no-enable-prefix-caching"]
    if method:
        # Refused without speculation ("requires speculative decoding to be enabled").
        argv += ["--per-request-spec-decode-metrics", "detailed"]
        config: dict[str, Any] = {"method": method, "num_speculative_tokens": wanted.draft_length}
        if method == "ngram":
            config |= {"prompt_lookup_max": 4, "prompt_lookup_min": 2}
        if wanted.drafter is not None:
            config["model"] = wanted.drafter
        argv += ["--speculative-config", json.dumps(config)]
    return LaunchCommand(tuple(argv), {"VLLM_NO_USAGE_STATS": "1"})


def _sglang(wanted: Wanted, algorithm: str) -> LaunchCommand:
    # SGLang 0.5.23: sglang/srt/server_args.py; how the numbers go together is in _handle_ngram and
    # _handle_eagle_family.
    argv = ["--model-path", wanted.model, "--host", HOST, "--port", str(wanted.port)]
    argv += ["--disable-radix-cache", "--enable-metrics"]
    length = wanted.draft_length or 0
    if algorithm:
        # The tokens to verify are the draft's and one.
        argv += ["--speculative-algorithm", algorithm]
        argv += ["--speculative-num-draft-tokens", str(length + 1)]
    if algorithm == "NGRAM":
        # Its own breadth of 10 spends these tokens on a tree, which is hardly deep.
        argv += ["--speculative-ngram-max-bfs-breadth", "1"]
    elif algorithm:
        argv += ["--speculative-num-steps", str(length), "--speculative-eagle-topk", "1"]
    if wanted.drafter is not None:
        argv += ["--speculative-draft-model-path", wanted.drafter]
    return LaunchCommand(tuple(argv), {})


def _tensorrt_llm(wanted: Wanted, kind: str) -> LaunchCommand:
    # TensorRT-LLM 1.2: tensorrt_llm/commands/serve.py; the options are in llmapi/llm_args.py
    # (TorchLlmArgs and the classes named ...DecodingConfig).
    argv = [wanted.model, "--host", HOST, "--port", str(wanted.port)]
    argv += ["--extra_llm_api_options", "{files}/options.yaml"]
    options: dict[str, Any] = {
        "return_perf_metrics": True,
        "perf_metrics_max_requests": 10_000,
        "kv_cache_config": {"enable_block_reuse": False},
    }
    if kind:
        options["speculative_config"] = {"decoding_type": kind, **_trt_draft(wanted, kind)}
    # JSON is YAML, and needs no library to write.
    files = {"options.yaml": json.dumps(options, indent=2) + "\n"}
    return LaunchCommand(tuple(argv), {}, files=files)


def _trt_draft(wanted: Wanted, kind: str) -> dict[str, Any]:
    if kind == "MTP":
        return {"num_nextn_predict_layers": wanted.draft_length}
    found: dict[str, Any] = {"max_draft_len": wanted.draft_length}
    if wanted.drafter is not None:
        found["speculative_model"] = wanted.drafter
    if kind == "NGram":
        found["max_matching_ngram_size"] = 4
    return found


def _llama_cpp(wanted: Wanted, kind: str) -> LaunchCommand:
    # llama.cpp of mid-2026: common/arg.cpp; the kinds are in common/speculative.cpp.  Its prefix
    # cache is switched off in each request.
    argv = ["-m" if _is_file(wanted.model) else "--hf-repo", wanted.model]
    argv += ["--host", HOST, "--port", str(wanted.port), "--metrics"]
    if kind:
        argv += ["--spec-type", kind]
    if kind == "ngram-simple":
        # Its own length of match, 12 tokens, finds next to nothing in ordinary answers, and a match
        # longer than the draft never drafts at all.
        argv += ["--spec-ngram-simple-size-n", str(min(4, wanted.draft_length or 4))]
        argv += ["--spec-ngram-simple-size-m", str(wanted.draft_length)]
    elif kind:
        argv += ["--spec-draft-n-max", str(wanted.draft_length)]
    if wanted.drafter is not None:
        argv += ["-md" if _is_file(wanted.drafter) else "--hf-repo-draft", wanted.drafter]
    return LaunchCommand(tuple(argv), {})


def _is_file(model: str) -> bool:
    """Return whether this names a file; a hub id is OWNER/NAME."""
    return model.endswith(".gguf") or model.startswith(("/", ".", "~"))


Methods = Mapping[str, str]
Template = Callable[[Wanted, str], LaunchCommand]

NEEDS_DRAFTER = ("draft_model", "eagle", "eagle3", "medusa")
DRAFTS_FROM_TEXT = ("ngram", "suffix")
PROGRAMS: dict[str, tuple[str, ...]] = {
    "vllm": ("vllm", "serve"),
    "sglang": ("python3", "-m", "sglang.launch_server"),
    "tensorrt_llm": ("trtllm-serve",),
    "llama_cpp": ("llama-server",),
}
"""The first words of each engine's command; ``--launch-program`` takes their place."""

TEMPLATES: dict[str, tuple[Methods, Template]] = {
    "vllm": (
        {
            "none": "",
            "ngram": "ngram",
            "draft_model": "draft_model",
            "eagle": "eagle",
            "eagle3": "eagle3",
            "mtp": "mtp",
            "medusa": "medusa",
            "suffix": "suffix",
        },
        _vllm,
    ),
    "sglang": (
        {
            "none": "",
            "ngram": "NGRAM",
            "draft_model": "STANDALONE",
            "eagle": "EAGLE",
            "eagle3": "EAGLE3",
            "mtp": "NEXTN",
        },
        _sglang,
    ),
    "tensorrt_llm": (
        {
            "none": "",
            "ngram": "NGram",
            "draft_model": "Draft_Target",
            "eagle3": "Eagle3",
            "mtp": "MTP",
            # The backend that serves checkpoints takes "Eagle" for "Eagle3" and has no "Medusa".
        },
        _tensorrt_llm,
    ),
    "llama_cpp": (
        {
            "none": "",
            "ngram": "ngram-simple",
            "draft_model": "draft-simple",
            "eagle3": "draft-eagle3",
            "mtp": "draft-mtp",
        },
        _llama_cpp,
    ),
}
"""Our names of the methods and each engine's own; empty for no speculation."""
