"""A Llama-type model as an OpenVINO graph, built from Hugging Face weights without torch.

OpenVINO GenAI wants a stateful graph with the inputs ``input_ids``, ``attention_mask``,
``position_ids`` and ``beam_idx``, a ReadValue/Assign pair for every key and value cache, and one
``ScaledDotProductAttention`` a layer; its continuous-batching pipeline then swaps that pattern for
paged attention.  (Pattern read off OpenVINO GenAI 2026.4, the graph it builds for GGUF files.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op
from openvino.op.util import Variable, VariableInfo

Weights = Mapping[str, NDArray[np.float16]]
Node = Any  # openvino.Node and openvino.Output are interchangeable as operands

MASKED = -65504.0  # the largest negative number of fp16, as every exporter uses
END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class LlamaShape:
    """The shape of a Llama-type model, under the names of its Hugging Face configuration."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LlamaShape:
        """Read the shape from a parsed ``config.json``."""
        rope = config.get("rope_parameters") or {}  # transformers 5 moved rope_theta in here
        theta = config.get("rope_theta", rope.get("rope_theta", 10000.0))
        fields = {name: config[name] for name in cls.__annotations__ if name != "rope_theta"}
        return cls(**fields, rope_theta=float(theta))


def build(shape: LlamaShape, weights: Weights) -> ov.Model:
    """Return the graph.  Weights are f32 constants: the values of the stored fp16, exactly."""
    return _Builder(shape, weights).model()


class _Builder:
    """Holds the inputs that every layer refers to, and the cache writes that layers leave."""

    def __init__(self, shape: LlamaShape, weights: Weights) -> None:
        self.shape = shape
        self.weights = weights
        self.ids = _parameter("input_ids", [-1, -1], np.int64)
        self.attention_mask = _parameter("attention_mask", [-1, -1], np.int64)
        self.position_ids = _parameter("position_ids", [-1, -1], np.int64)
        self.beam_idx = _parameter("beam_idx", [-1], np.int32)
        self.ids_shape = op.shape_of(self.ids, output_type="i64")
        self.batch = op.gather(self.ids_shape, _ints([0]), _ints(0))
        self.cache_writes: list[Node] = []

    def model(self) -> ov.Model:
        embedding = self.weight("model.embed_tokens")
        hidden = op.gather(embedding, op.convert(self.ids, "i32"), _ints(0))
        cos, sin = self.rotary_table()
        mask = self.causal_mask()
        for layer in range(self.shape.num_hidden_layers):
            prefix = f"model.layers.{layer}"
            normed = self.rms_norm(hidden, f"{prefix}.input_layernorm")
            hidden = op.add(hidden, self.attention(normed, layer, cos, sin, mask))
            normed = self.rms_norm(hidden, f"{prefix}.post_attention_layernorm")
            hidden = op.add(hidden, self.feed_forward(normed, f"{prefix}.mlp"))
        logits = op.matmul(self.rms_norm(hidden, "model.norm"), embedding, False, True)
        logits.output(0).set_names({"logits"})
        inputs = [self.ids, self.attention_mask, self.position_ids, self.beam_idx]
        return ov.Model([op.result(logits)], self.cache_writes, inputs, "llama")

    def weight(self, name: str) -> Node:
        return op.constant(self.weights[f"{name}.weight"].astype(np.float32))

    def linear(self, x: Node, name: str) -> Node:
        return op.matmul(x, self.weight(name), False, True)

    def rms_norm(self, x: Node, name: str) -> Node:
        mean_square = op.reduce_mean(op.power(x, _float(2.0)), _ints([-1]), True)
        eps = op.constant(np.full((1, 1, 1), self.shape.rms_norm_eps, np.float32))
        inverse = op.divide(_float(1.0), op.sqrt(op.add(mean_square, eps)))
        return op.multiply(op.multiply(x, inverse), self.weight(name))

    def rotary_table(self) -> tuple[Node, Node]:
        """Cosines and sines of every position, shaped [batch, 1, length, head_dim]."""
        exponent = np.arange(0, self.shape.head_dim, 2, dtype=np.float32) / self.shape.head_dim
        inverse_frequency = op.constant((1.0 / self.shape.rope_theta**exponent).reshape(1, -1, 1))
        per_batch = op.broadcast(
            inverse_frequency,
            op.concat([self.batch, _ints([1]), _ints([1])], 0),
            broadcast_spec="BIDIRECTIONAL",
        )
        positions = op.convert(op.unsqueeze(self.position_ids, _ints(1)), "f32")
        angles = op.transpose(op.matmul(per_batch, positions, False, False), _ints([0, 2, 1]))
        both_halves = op.concat([angles, angles], -1)
        return tuple(op.unsqueeze(f(both_halves), _ints(1)) for f in (op.cos, op.sin))

    def causal_mask(self) -> Node:
        """0 where a query may look, a large negative number elsewhere."""
        total = op.gather(op.shape_of(self.attention_mask, output_type="i64"), _ints(1), _ints(0))
        new = op.gather(self.ids_shape, _ints(1), _ints(0))
        keys = op.unsqueeze(op.range(_ints(0), total, _ints(1), output_type="i64"), _ints(0))
        first_query = op.subtract(total, new)
        queries = op.range(first_query, total, _ints(1), output_type="i64")
        not_future = op.less_equal(keys, op.unsqueeze(queries, _ints(1)))
        not_padding = op.greater(op.unsqueeze(self.attention_mask, _ints(1)), _ints(0))
        allowed = op.logical_and(not_future, not_padding)
        return op.unsqueeze(op.select(allowed, _float(0.0), _float(MASKED)), _ints(1))

    def attention(self, x: Node, layer: int, cos: Node, sin: Node, mask: Node) -> Node:
        heads, kv_heads = self.shape.num_attention_heads, self.shape.num_key_value_heads
        name = f"model.layers.{layer}.self_attn"
        query = self.rotate(self.split_heads(self.linear(x, f"{name}.q_proj"), heads), cos, sin)
        key = self.rotate(self.split_heads(self.linear(x, f"{name}.k_proj"), kv_heads), cos, sin)
        value = self.split_heads(self.linear(x, f"{name}.v_proj"), kv_heads)
        # GenAI finds a layer's pair of caches by these names.
        keys = self.cached(key, f"past_key_values.{layer}.keypresent.{layer}.key")
        values = self.cached(value, f"past_key_values.{layer}.valuepresent.{layer}.key")
        mixed = op.scaled_dot_product_attention(
            query, self.repeat_heads(keys), self.repeat_heads(values), mask, causal=False
        )
        width = heads * self.shape.head_dim
        joined = op.reshape(op.transpose(mixed, _ints([0, 2, 1, 3])), _ints([0, 0, width]), True)
        return self.linear(joined, f"{name}.o_proj")

    def split_heads(self, x: Node, heads: int) -> Node:
        split = op.reshape(x, _ints([0, 0, heads, self.shape.head_dim]), True)
        return op.transpose(split, _ints([0, 2, 1, 3]))

    def rotate(self, x: Node, cos: Node, sin: Node) -> Node:
        half = self.shape.head_dim // 2
        first = op.slice(x, _ints([0]), _ints([half]), _ints([1]), _ints([3]))
        second = op.slice(x, _ints([half]), _ints([END]), _ints([1]), _ints([3]))
        minus_one = op.constant(np.full((1, 1, 1, 1), -1.0, np.float32))
        turned = op.concat([op.multiply(second, minus_one), first], -1)
        return op.add(op.multiply(x, cos), op.multiply(turned, sin))

    def cached(self, new: Node, name: str) -> Node:
        """Append `new` to the cache called `name` and return all of it."""
        kv_heads, head_dim = self.shape.num_key_value_heads, self.shape.head_dim
        info = VariableInfo()
        info.data_shape = ov.PartialShape([-1, kv_heads, -1, head_dim])
        info.data_type = ov.Type.f32
        info.variable_id = name
        variable = Variable(info)
        empty_shape = op.concat([self.batch, _ints([kv_heads]), _ints([0]), _ints([head_dim])], 0)
        past = op.read_value(op.broadcast(_float(0.0), empty_shape), variable)
        everything = op.concat([op.gather(past, self.beam_idx, _ints(0)), new], 2)
        self.cache_writes.append(op.assign(everything, variable))
        return everything

    def repeat_heads(self, kv: Node) -> Node:
        """Give every query head its own copy of the key or value head it shares."""
        heads, kv_heads = self.shape.num_attention_heads, self.shape.num_key_value_heads
        if heads == kv_heads:
            return kv
        copies = op.concat(
            [self.batch, _ints([kv_heads, heads // kv_heads, 0, self.shape.head_dim])], 0
        )
        spread = op.broadcast(op.unsqueeze(kv, _ints(2)), copies, broadcast_spec="BIDIRECTIONAL")
        return op.reshape(spread, _ints([0, heads, -1, self.shape.head_dim]), True)

    def feed_forward(self, x: Node, name: str) -> Node:
        gate = op.swish(self.linear(x, f"{name}.gate_proj"))
        return self.linear(
            op.multiply(gate, self.linear(x, f"{name}.up_proj")), f"{name}.down_proj"
        )


def _parameter(name: str, shape: list[int], dtype: type[np.generic]) -> Node:
    node = op.parameter(shape, dtype, name=name)
    node.output(0).set_names({name})
    return node


def _ints(values: int | list[int]) -> Node:
    return op.constant(np.array(values, dtype=np.int64))


def _float(value: float) -> Node:
    return op.constant(np.float32(value))
