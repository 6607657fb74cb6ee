"""From the shipped demo pair to the directories that OpenVINO GenAI opens, cached.

The weights are stored once, as fp16 safetensors in Hugging Face layout.  What OpenVINO needs
(graph, f32 weights, tokenizer graph) is derived at first use and kept in the user's cache
directory, under a name that holds a hash of everything it was derived from.

A toy target is so fast that drafting never pays, so the target is *expanded*: layers are appended
whose attention and feed-forward output projections are zero.  Such a layer adds exactly 0.0 to the
residual stream: it costs what a layer costs and changes no output.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedbench.errors import EngineError, EnvironmentFailedError

EXTRA_LAYERS = 8
"""Zero-output layers appended to the demo target.

Chosen for the cost ratio alone: one draft step then costs about 0.14 target steps at batch 1, the
ratio of EAGLE-3 to Llama 3.1 8B in vLLM issue 20780 (1.0 ms a drafted token on 7.07 ms a step).
"""

LAYOUT_VERSION = 1  # raise when the derived files change for the same weights
_EXPANSION_SEED = 20_260_409


@dataclass(frozen=True)
class PairPaths:
    """Directories that OpenVINO GenAI can open, and the context length they hold."""

    target: Path
    drafter: Path
    max_context: int


def demo_pair_path() -> Path:
    """Return the directory of the demo pair inside the package (Hugging Face layout)."""
    return Path(str(resources.files("speedbench") / "demo_pair"))


def prepare_pair(pair: str = "expanded", *, cache: Path | None = None) -> PairPaths:
    """Return the pair in OpenVINO's format, deriving it on first use.

    Parameters
    ----------
    pair
        "expanded", "unexpanded", or "drafter": the drafter in the target's place.
    cache
        Where derived files are kept; default `cache_directory`.

    Raises
    ------
    EngineError
        When the shipped weights are missing or do not have the shape they claim.
    EnvironmentFailedError
        When the cache directory cannot be written.
    """
    source = demo_pair_path()
    root = cache or cache_directory()
    config = _read_config(source / "target")
    try:
        drafter = _derived(source / "drafter", source / "target", 0, root)
        target = drafter
        if pair != "drafter":
            target = _derived(source / "target", source / "target", extra_layers(pair), root)
    except OSError as error:
        raise EnvironmentFailedError(
            f"cannot write the engine's model files under {root}: {error.strerror}; free some "
            "space there or set SPEEDBENCH_CACHE to another directory"
        ) from error
    return PairPaths(target, drafter, int(config["max_position_embeddings"]))


def cache_directory() -> Path:
    """Return where derived files are kept: SPEEDBENCH_CACHE, else the user's cache directory."""
    if chosen := os.environ.get("SPEEDBENCH_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "speedbench"


def extra_layers(pair: str) -> int:
    """Return how many zero-output layers a variant of the target has."""
    return EXTRA_LAYERS if pair == "expanded" else 0


def pair_facts(pair: str) -> dict[str, Any]:
    """Describe the pair for a manifest: what it is, which weights, how much it was expanded."""
    source = demo_pair_path()
    extra = extra_layers(pair)
    layers = int(_read_config(source / "target")["num_hidden_layers"])
    return {
        "pair": "speedbench's demo pair: a toy, it says nothing about real models",
        "target_fingerprint": fingerprint(source / "target", source / "target", extra),
        "drafter_fingerprint": fingerprint(source / "drafter", source / "target", 0),
        "target_layers": layers,
        "extra_layers": extra,
        "variant": pair,
    }


def expand(
    config: Mapping[str, Any], weights: Mapping[str, NDArray[np.float16]], n_extra: int
) -> tuple[dict[str, Any], dict[str, NDArray[np.float16]]]:
    """Append layers that cost time and change no output.

    Their inner projections are random, seeded and small; their two output projections are zero, so
    each adds exactly 0.0 to the residual stream.
    """
    rng = np.random.default_rng(_EXPANSION_SEED)
    grown = dict(weights)
    first = int(config["num_hidden_layers"])
    for layer in range(first, first + n_extra):
        for name, template in weights.items():
            if not name.startswith("model.layers.0."):
                continue
            values = rng.normal(0.0, 0.02, template.shape).astype(np.float16)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                values = np.zeros_like(template)
            elif name.endswith("layernorm.weight"):
                values = np.ones_like(template)
            grown[name.replace("model.layers.0.", f"model.layers.{layer}.")] = values
    return {**config, "num_hidden_layers": first + n_extra}, grown


def fingerprint(directory: Path, tokenizer_directory: Path, n_extra: int) -> str:
    """Return a hash of everything that the derived files are derived from."""
    digest = hashlib.sha256(f"{LAYOUT_VERSION}:{n_extra}:{_EXPANSION_SEED}".encode())
    inputs = [directory / name for name in ("config.json", "model.safetensors")]
    for path in [*inputs, tokenizer_directory / "tokenizer.json"]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _derived(source: Path, tokenizer_source: Path, n_extra: int, root: Path) -> Path:
    """Return the cached directory of one model, building it beside its place and renaming it."""
    ready = root / f"{source.name}-{fingerprint(source, tokenizer_source, n_extra)}"
    if ready.is_dir():
        return ready
    root.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{ready.name}-", dir=root))
    try:
        _write_openvino(source, tokenizer_source, n_extra, building)
        # Another process may have been faster: its directory holds the same bytes.
        if not ready.is_dir():
            os.replace(building, ready)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return ready


def _write_openvino(source: Path, tokenizer_source: Path, n_extra: int, target: Path) -> None:
    import openvino as ov
    from safetensors.numpy import load_file

    from speedbench.engines.embedded import graph, tokenizer_graph

    config, weights = expand(_read_config(source), load_file(source / "model.safetensors"), n_extra)
    shape = graph.LlamaShape.from_config(config)
    try:
        model = graph.build(shape, weights)
    except KeyError as error:
        raise EngineError(f"{source}: the weights lack the tensor {error}") from error
    ov.save_model(model, target / "openvino_model.xml", compress_to_fp16=False)
    tokenizer_graph.write(tokenizer_source, target)
    (target / "config.json").write_text(json.dumps(config))
    shutil.copy(tokenizer_source / "generation_config.json", target)


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((directory / "config.json").read_bytes())
    except FileNotFoundError as error:
        raise EngineError(
            f"the demo pair is not in this installation ({directory} is missing): reinstall "
            "speedbench from a complete source tree or wheel"
        ) from error
    return config
