"""The graph that OpenVINO runs computes what a Llama model computes, and expansion changes nothing.

The reference is a Llama forward pass written here in NumPy, after the model's description
(arXiv 2302.13971; rotary halves as in Hugging Face's implementation), in double precision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from speedbench.engines.embedded.models import demo_pair_path, expand
from speedbench.tokenization import ChatTokenizer

ov = pytest.importorskip("openvino", reason="the embedded engine is not installed")
graph = pytest.importorskip("speedbench.engines.embedded.graph")

Floats = NDArray[np.float64]
PROMPTS = [
    "def add(a, b):\n    return a + b\n",
    "Она спросила: «Wo ist der Bahnhof?» 駅はどこですか。",
    "x" * 300,
]


def rms_norm(x: Floats, weight: Floats, eps: float) -> Floats:
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps) * weight


def rotated(x: Floats, theta: float) -> Floats:
    """Rotary position embedding of x[head, position, dimension]."""
    _, n, dim = x.shape
    angles = np.outer(np.arange(n), theta ** (-np.arange(0, dim, 2) / dim))
    cos, sin = np.tile(np.cos(angles), 2), np.tile(np.sin(angles), 2)
    halves = np.concatenate([-x[..., dim // 2 :], x[..., : dim // 2]], axis=-1)
    return x * cos + halves * sin


def attention(x: Floats, w: Mapping[str, Floats], prefix: str, config: Mapping[str, Any]) -> Floats:
    n, dim = len(x), config["head_dim"]
    q, k, v = (
        (x @ w[f"{prefix}.{name}_proj.weight"].T).reshape(n, -1, dim).transpose(1, 0, 2)
        for name in "qkv"
    )
    q, k = rotated(q, config["rope_theta"]), rotated(k, config["rope_theta"])
    groups = len(q) // len(k)
    k, v = np.repeat(k, groups, axis=0), np.repeat(v, groups, axis=0)
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(dim)
    scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return (shares @ v).transpose(1, 0, 2).reshape(n, -1) @ w[f"{prefix}.o_proj.weight"].T


def feed_forward(x: Floats, w: Mapping[str, Floats], prefix: str) -> Floats:
    gate, up = (x @ w[f"{prefix}.{name}_proj.weight"].T for name in ("gate", "up"))
    return (gate / (1 + np.exp(-gate)) * up) @ w[f"{prefix}.down_proj.weight"].T


def llama_logits(ids: list[int], w: Mapping[str, Floats], config: Mapping[str, Any]) -> Floats:
    eps = config["rms_norm_eps"]
    hidden = w["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        normed = rms_norm(hidden, w[f"{name}.input_layernorm.weight"], eps)
        hidden = hidden + attention(normed, w, f"{name}.self_attn", config)
        normed = rms_norm(hidden, w[f"{name}.post_attention_layernorm.weight"], eps)
        hidden = hidden + feed_forward(normed, w, f"{name}.mlp")
    return rms_norm(hidden, w["model.norm.weight"], eps) @ w["model.embed_tokens.weight"].T


class Compiled:
    """One of the demo pair's models, as OpenVINO runs it."""

    def __init__(self, directory: Path, n_extra: int = 0) -> None:
        config = json.loads((directory / "config.json").read_bytes())
        weights = load_file(directory / "model.safetensors")
        self.config, self.weights = config, weights
        grown = expand(config, weights, n_extra)
        model = graph.build(graph.LlamaShape.from_config(grown[0]), grown[1])
        options = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
        self.compiled = ov.Core().compile_model(model, "CPU", options)

    def logits(self, *pieces: list[int]) -> NDArray[np.float32]:
        """Logits of every position; each piece is an inference that continues the one before."""
        inference = self.compiled.create_infer_request()
        found, past = [], 0
        for piece in pieces:
            total = past + len(piece)
            inputs = {
                "input_ids": np.array([piece], np.int64),
                "attention_mask": np.ones((1, total), np.int64),
                "position_ids": np.arange(past, total, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
            found.append(inference.infer(inputs)["logits"][0].copy())
            past = total
        return np.concatenate(found)


@pytest.fixture(scope="module", params=["target", "drafter"])
def model(request: pytest.FixtureRequest) -> Compiled:
    return Compiled(demo_pair_path() / request.param)


@pytest.fixture(scope="module")
def reference(model: Compiled) -> dict[str, Floats]:
    return {name: values.astype(np.float64) for name, values in model.weights.items()}


@pytest.mark.parametrize("prompt", PROMPTS, ids=["code", "languages", "repetition"])
def test_logits_are_those_of_the_reference(
    prompt: str, model: Compiled, reference: dict[str, Floats], demo_tokenizer: ChatTokenizer
) -> None:
    ids = demo_tokenizer.first_turn([("user", prompt)])
    expected = llama_logits(ids, reference, model.config)
    assert np.abs(model.logits(ids) - expected).max() < 1e-4


def test_the_cache_gives_the_logits_of_one_pass(
    model: Compiled, demo_tokenizer: ChatTokenizer
) -> None:
    ids = demo_tokenizer.first_turn([("user", PROMPTS[1])])
    whole = model.logits(ids)
    one_by_one = model.logits(ids[:5], *[[i] for i in ids[5:]])
    assert np.abs(whole - one_by_one).max() < 1e-4


def test_expansion_changes_no_logit(demo_tokenizer: ChatTokenizer) -> None:
    ids = demo_tokenizer.first_turn([("user", PROMPTS[0])])
    plain = Compiled(demo_pair_path() / "target")
    expanded = Compiled(demo_pair_path() / "target", n_extra=2)
    assert np.array_equal(plain.logits(ids), expanded.logits(ids))


def test_expanded_layers_add_zero_and_leave_the_trained_ones_alone() -> None:
    directory = demo_pair_path() / "target"
    config = json.loads((directory / "config.json").read_bytes())
    weights = load_file(directory / "model.safetensors")
    grown_config, grown = expand(config, weights, 3)
    n_layers = config["num_hidden_layers"]
    assert grown_config["num_hidden_layers"] == n_layers + 3
    assert all(np.array_equal(grown[name], values) for name, values in weights.items())
    for layer in range(n_layers, n_layers + 3):
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            assert not grown[f"model.layers.{layer}.{name}.weight"].any()
        assert grown[f"model.layers.{layer}.self_attn.q_proj.weight"].any()
    again = expand(config, weights, 3)[1]
    assert all(np.array_equal(grown[name], values) for name, values in again.items())
