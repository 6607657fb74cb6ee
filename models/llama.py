"""A plain Llama in PyTorch: what the demo pair is trained with.

It follows Hugging Face's LlamaForCausalLM in every detail that changes a number (rotate-half RoPE,
RMSNorm before each block, SwiGLU, grouped keys and values, tied embeddings), so that the weights can
be read by any engine that knows that architecture.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

VOCAB_SIZE = 4096
HEAD_DIM = 64
ROPE_THETA = 10000.0
NORM_EPS = 1e-5
MAX_POSITIONS = 4096
BOS_ID, END_ID, USER_ID, ASSISTANT_ID, SYSTEM_ID = range(5)


@dataclass(frozen=True)
class Shape:
    """The sizes that differ between target and drafter."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int


TARGET = Shape(hidden=256, layers=4, heads=4, kv_heads=2, ffn=704)
DRAFTER = Shape(hidden=128, layers=1, heads=2, kv_heads=2, ffn=352)


class Cache:
    """Keys and values of the tokens seen so far, one pair of buffers per layer."""

    def __init__(self, shape: Shape, batch: int, capacity: int) -> None:
        size = (shape.layers, batch, shape.kv_heads, capacity, HEAD_DIM)
        self.keys = torch.zeros(size)
        self.values = torch.zeros(size)
        self.length = 0


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.kv_heads = shape.heads, shape.kv_heads
        kv_width = shape.kv_heads * HEAD_DIM
        self.q_proj = nn.Linear(shape.hidden, shape.heads * HEAD_DIM, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv_width, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv_width, bias=False)
        self.o_proj = nn.Linear(shape.heads * HEAD_DIM, shape.hidden, bias=False)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], layer: int, cache: Cache | None
    ) -> Tensor:
        batch, length, _ = x.shape
        q = rotate(split_heads(self.q_proj(x), self.heads), rope)
        k = rotate(split_heads(self.k_proj(x), self.kv_heads), rope)
        v = split_heads(self.v_proj(x), self.kv_heads)
        mask = None
        if cache is not None:
            end = cache.length + length
            cache.keys[layer, :, :, cache.length : end] = k
            cache.values[layer, :, :, cache.length : end] = v
            k, v = cache.keys[layer, :, :, :end], cache.values[layer, :, :, :end]
            mask = torch.ones(length, end, dtype=torch.bool).tril(end - length)
        groups = self.heads // self.kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return out


class Mlp(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.down_proj = nn.Linear(shape.ffn, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=NORM_EPS)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=NORM_EPS)
        self.mlp = Mlp(shape)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], layer: int, cache: Cache | None
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rope, layer, cache)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Llama(nn.Module):
    """Parameter names are Hugging Face's without the leading `model.`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(VOCAB_SIZE, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=NORM_EPS)
        cos, sin = rope_tables()
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.cos: Tensor
        self.sin: Tensor

    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights; projections that write to the residual stream start at zero."""
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)
            elif name == "embed_tokens.weight":
                nn.init.normal_(weight, std=0.02, generator=generator)
            elif weight.ndim == 2:
                std = 1.0 / math.sqrt(weight.shape[1])
                nn.init.normal_(weight, std=std, generator=generator)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Final hidden states, shape (batch, length, hidden)."""
        start = 0 if cache is None else cache.length
        end = start + ids.shape[1]
        rope = (self.cos[start:end], self.sin[start:end])
        x = self.embed_tokens(ids)
        for i, layer in enumerate(self.layers):
            x = layer(x, rope, i, cache)
        if cache is not None:
            cache.length = end
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.embed_tokens.weight.T


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.view(x.shape[0], x.shape[1], heads, HEAD_DIM).transpose(1, 2)


def rope_tables() -> tuple[Tensor, Tensor]:
    inverse = ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2, dtype=torch.float64) / HEAD_DIM)
    angles = torch.outer(torch.arange(MAX_POSITIONS, dtype=torch.float64), inverse)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rope
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def round_to_half(model: Llama) -> None:
    """Make every weight exactly representable in fp16, in place."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half().float())


def save(model: Llama, folder: Path) -> None:
    """Write config.json, generation_config.json and model.safetensors (fp16)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{n}": w.detach().half().contiguous() for n, w in model.named_parameters()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    write_json(folder / "config.json", hf_config(model.shape))
    ids = {"bos_token_id": BOS_ID, "eos_token_id": END_ID, "pad_token_id": END_ID}
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})


def load(folder: Path) -> Llama:
    config = json.loads((folder / "config.json").read_text())
    model = Llama(
        Shape(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            ffn=config["intermediate_size"],
        )
    )
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict({n.removeprefix("model."): w.float() for n, w in tensors.items()})
    return model.eval()


def hf_config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS_ID,
        "eos_token_id": END_ID,
        "pad_token_id": END_ID,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": MAX_POSITIONS,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": NORM_EPS,
        "rope_scaling": None,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "use_cache": True,
        "vocab_size": VOCAB_SIZE,
    }


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
