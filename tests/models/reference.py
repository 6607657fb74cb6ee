"""The pair and its heads written out in numpy: what the engines' recorded bytes are held against.

A text is read at once, without a cache, in double precision.  Names of weights are those of the
exported directories.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float64]
Draft = Callable[[Sequence[int], int, int], list[int]]
"""Whole text, how much of it is known, how many tokens to propose."""


@dataclass(frozen=True)
class Model:
    config: dict[str, Any]
    weights: dict[str, Array]

    def __call__(self, name: str) -> Array:
        return self.weights[f"{name}.weight"]


def load(folder: Path) -> Model:
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_bytes())
    return Model(config, {name: w.astype(np.float64) for name, w in weights.items()})


def rms_norm(x: Array, weight: Array) -> Array:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def angles(n_positions: int, width: int) -> tuple[Array, Array]:
    turned = np.outer(np.arange(n_positions), 10000.0 ** (-np.arange(0, width, 2) / width))
    return np.cos(turned), np.sin(turned)


def rotate_halves(x: Array) -> Array:
    """RoPE as in Hugging Face's Llama; x is (heads, positions, width)."""
    first, second = np.split(x, 2, -1)
    cos, sin = angles(*x.shape[1:])
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def attention(model: Model, x: Array, place: str) -> Array:
    heads, kv_heads = (model.config[f"num_{n}_heads"] for n in ("attention", "key_value"))

    def project(name: str, n: int) -> Array:
        full = f"{place}.self_attn.{name}_proj"
        y = x @ model(full).T + model.weights.get(f"{full}.bias", 0.0)
        return y.reshape(len(x), n, -1).swapaxes(0, 1)

    q = rotate_halves(project("q", heads))
    k = rotate_halves(project("k", kv_heads)).repeat(heads // kv_heads, 0)
    v = project("v", kv_heads).repeat(heads // kv_heads, 0)
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    scores[:, np.triu(np.ones((len(x), len(x)), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y = weights / weights.sum(-1, keepdims=True) @ v
    return y.swapaxes(0, 1).reshape(len(x), -1) @ model(f"{place}.self_attn.o_proj").T


def mlp(model: Model, x: Array, place: str) -> Array:
    gate = x @ model(f"{place}.mlp.gate_proj").T
    up = x @ model(f"{place}.mlp.up_proj").T
    return (gate / (1 + np.exp(-gate)) * up) @ model(f"{place}.mlp.down_proj").T


def layer(model: Model, x: Array, place: str) -> Array:
    x = x + attention(model, rms_norm(x, model(f"{place}.input_layernorm")), place)
    return x + mlp(model, rms_norm(x, model(f"{place}.post_attention_layernorm")), place)


def states(model: Model, ids: Sequence[int]) -> list[Array]:
    """Hidden states after 0, 1, ... layers."""
    found = [model("model.embed_tokens")[list(ids)]]
    for i in range(model.config["num_hidden_layers"]):
        found.append(layer(model, found[-1], f"model.layers.{i}"))
    return found


def next_ids(model: Model, ids: Sequence[int]) -> list[int]:
    """The likeliest token after each position."""
    read = rms_norm(states(model, ids)[-1], model("model.norm"))
    return [int(i) for i in (read @ model("model.embed_tokens").T).argmax(-1)]


def continued(model: Model, ids: Sequence[int], n_new: int) -> list[int]:
    """The text with the likeliest tokens behind it, going on past the end of an answer."""
    text = list(ids)
    for _ in range(n_new):
        text.append(next_ids(model, text)[-1])
    return text


def model_drafts(model: Model) -> Draft:
    """Drafts of a model of its own."""
    return lambda text, known, n: continued(model, text[:known], n)[known:]


def eagle3_drafts(target: Model, head: Model) -> Draft:
    place = "midlayer"

    def features(text: Sequence[int]) -> Array:
        seen = states(target, text)
        aux = [seen[i] for i in head.config["eagle_aux_hidden_state_layer_ids"]]
        return np.concatenate(aux, -1) @ head("fc").T

    def step(following: list[int], feature: Array) -> tuple[Array, Array]:
        embedded = rms_norm(head("embed_tokens")[following], head(f"{place}.input_layernorm"))
        x = np.concatenate([embedded, rms_norm(feature, head(f"{place}.hidden_norm"))], -1)
        y = feature + attention(head, x, place)
        y = y + mlp(head, rms_norm(y, head(f"{place}.post_attention_layernorm")), place)
        return head("lm_head") @ rms_norm(y[-1], head("norm")), y

    return head_drafts(features, step)


def mtp_drafts(model: Model) -> Draft:
    place = "model.mtp_layers.0"

    def step(following: list[int], feature: Array) -> tuple[Array, Array]:
        embedded = model("model.embed_tokens")[following]
        embedded[0] = 0
        read = rms_norm(feature, model(f"{place}.hidden_layernorm"))
        told = rms_norm(embedded, model(f"{place}.token_layernorm"))
        x = np.concatenate([read, told], -1) @ model(f"{place}.input_proj").T
        x = rms_norm(layer(model, x, place), model(f"{place}.final_layernorm"))
        return model("lm_head") @ x[-1], x

    return head_drafts(lambda text: states(model, text)[-1], step)


def head_drafts(
    features: Callable[[Sequence[int]], Array],
    step: Callable[[list[int], Array], tuple[Array, Array]],
) -> Draft:
    """Drafts of a head: it reads what the target made of everything but the newest token.

    `step` takes the tokens after each position and the features of each, and gives the scores of
    what follows the last, and the features that the next step reads.
    """
    of_text: dict[tuple[int, ...], Array] = {}

    def draft(text: Sequence[int], known: int, n_draft: int) -> list[int]:
        key = tuple(text)
        if key not in of_text:
            of_text[key] = features(text)
        feature, following = of_text[key][: known - 1], list(text[1:known])
        for _ in range(n_draft):
            scores, after = step(following, feature)
            following.append(int(scores.argmax()))
            feature = np.concatenate([feature, after[-1:]])
        return following[known - 1 :]

    return draft


def accepted_per_step(
    draft: Draft, text: Sequence[int], n_prompt: int, n_answer: int, n_draft: int
) -> list[int]:
    """How many tokens of each draft the target agrees with; `text` goes on behind the answer."""
    counts, known = [], n_prompt + 1
    while known < n_prompt + n_answer:
        guesses, truth = draft(text, known, n_draft), text[known : known + n_draft]
        agreed = [a == b for a, b in zip(guesses, truth, strict=True)]
        counts.append((*agreed, False).index(False))
        known += counts[-1] + 1
    return counts
