"""Heads that draft from the target's hidden states: EAGLE-3 and multi-token prediction (MTP).

Both are one decoder layer that reads the embedding of the next token and a feature of the position
before, and predicts what follows.  What is shared with the target (embedding, output) is not
stored; `models.export` puts it in.  `models.train_heads` trains them.

EAGLE-3 follows vLLM's LlamaForCausalLMEagle3, MTP follows its MiMoForCausalLM (both 0.32).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from models.llama import (
    HEAD_DIM,
    NORM_EPS,
    TARGET,
    VOCAB_SIZE,
    Mlp,
    rope_tables,
    rotate,
    split_heads,
)

AUX_LAYERS = (1, 2, 3)
"""EAGLE-3 sees the target's hidden states after so many layers.

Not after the last: llama.cpp hands that out for few architectures, and Llama is not among them.
"""


class Attention(nn.Module):
    """Attention of an unrolled head: old positions from the first step, new ones from their own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        kv_width = TARGET.kv_heads * HEAD_DIM
        self.q_proj = nn.Linear(width, TARGET.heads * HEAD_DIM, bias=False)
        self.k_proj = nn.Linear(width, kv_width, bias=False)
        self.v_proj = nn.Linear(width, kv_width, bias=False)
        self.o_proj = nn.Linear(TARGET.heads * HEAD_DIM, TARGET.hidden, bias=False)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], past: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Attend, and leave this step's keys and values in `past`.

        A position of step s sees step 1 up to the position s - 1 before it, and of every later step
        the one position that lies between.
        """
        groups = TARGET.heads // TARGET.kv_heads
        q = rotate(split_heads(self.q_proj(x), TARGET.heads), rope)
        k = rotate(split_heads(self.k_proj(x), TARGET.kv_heads), rope).repeat_interleave(groups, 1)
        v = split_heads(self.v_proj(x), TARGET.kv_heads).repeat_interleave(groups, 1)
        past.append((k, v))
        length, behind = x.shape[1], len(past) - 1
        keys, values = past[0]
        seen = torch.ones(length, length, dtype=torch.bool).tril(-behind)
        scores = (q @ keys.transpose(-1, -2)).masked_fill(~seen, -torch.inf)
        near = [
            (q * moved(k, behind - s)).sum(-1, keepdim=True) for s, (k, _) in enumerate(past) if s
        ]
        scale = HEAD_DIM**-0.5
        weights = (torch.cat([scores, *near], -1) * scale).softmax(-1)
        y = weights[..., :length] @ values
        for s in range(1, behind + 1):
            column = length + s - 1
            y = y + weights[..., column : column + 1] * moved(past[s][1], behind - s)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(*x.shape[:2], -1))
        return out


def moved(x: Tensor, places: int) -> Tensor:
    """What lies so many positions before each one, along the last axis but one; zeros at first."""
    return F.pad(x, (0, 0, places, 0))[..., : x.shape[-2], :] if places else x


class Head(nn.Module):
    """What the two kinds share.

    `feature` prepares the target's states; `step` drafts once, and returns what the output layer
    reads and the feature of the next step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cos, self.sin = rope_tables()

    def rope(self, length: int) -> tuple[Tensor, Tensor]:
        return self.cos[:length], self.sin[:length]


class Eagle3(Head):
    def __init__(self) -> None:
        super().__init__()
        hidden = TARGET.hidden
        self.fc = nn.Linear(len(AUX_LAYERS) * hidden, hidden, bias=False)
        self.input_layernorm = nn.RMSNorm(hidden, eps=NORM_EPS)
        self.hidden_norm = nn.RMSNorm(hidden, eps=NORM_EPS)
        self.self_attn = Attention(2 * hidden)
        self.post_attention_layernorm = nn.RMSNorm(hidden, eps=NORM_EPS)
        self.mlp = Mlp(TARGET)
        self.norm = nn.RMSNorm(hidden, eps=NORM_EPS)

    def feature(self, states: list[Tensor]) -> Tensor:
        out: Tensor = self.fc(torch.cat([states[i] for i in AUX_LAYERS], -1))
        return out

    def step(
        self, embedded: Tensor, feature: Tensor, past: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        x = torch.cat([self.input_layernorm(embedded), self.hidden_norm(feature)], -1)
        y = feature + self.self_attn(x, self.rope(x.shape[1]), past)
        y = y + self.mlp(self.post_attention_layernorm(y))
        return self.norm(y), y


class Mtp(Head):
    def __init__(self) -> None:
        super().__init__()
        hidden = TARGET.hidden
        self.token_layernorm = nn.RMSNorm(hidden, eps=NORM_EPS)
        self.hidden_layernorm = nn.RMSNorm(hidden, eps=NORM_EPS)
        self.input_proj = nn.Linear(2 * hidden, hidden, bias=False)
        self.input_layernorm = nn.RMSNorm(hidden, eps=NORM_EPS)
        self.self_attn = Attention(hidden)
        self.post_attention_layernorm = nn.RMSNorm(hidden, eps=NORM_EPS)
        self.mlp = Mlp(TARGET)
        self.final_layernorm = nn.RMSNorm(hidden, eps=NORM_EPS)

    def feature(self, states: list[Tensor]) -> Tensor:
        return states[-1]

    def step(
        self, embedded: Tensor, feature: Tensor, past: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        embedded = F.pad(embedded[:, 1:], (0, 0, 1, 0))  # position 0 is masked
        x = torch.cat([self.hidden_layernorm(feature), self.token_layernorm(embedded)], -1)
        x = self.input_proj(x)
        x = x + self.self_attn(self.input_layernorm(x), self.rope(x.shape[1]), past)
        x = self.final_layernorm(x + self.mlp(self.post_attention_layernorm(x)))
        return x, x


HEADS: dict[str, type[Head]] = {"eagle3": Eagle3, "mtp": Mtp}
CONFIGS: dict[str, dict[str, object]] = {
    "eagle3": {
        "architectures": ["LlamaForCausalLMEagle3"],
        "draft_vocab_size": VOCAB_SIZE,
        "eagle_aux_hidden_state_layer_ids": list(AUX_LAYERS),
        "num_hidden_layers": 1,
        "tie_word_embeddings": False,
    },
    "mtp": {
        "architectures": ["MiMoForCausalLM"],
        "attention_bias": True,
        "model_type": "qwen2",
        "num_nextn_predict_layers": 1,
        "tie_word_embeddings": False,
    },
}
"""Where a head's configuration differs from the target's; `models.export` puts them together.

The type of published MiMo directories is "mimo", whose configuration is code of their own.  Without
that code transformers refuses the type; "qwen2" has the same fields, and vLLM goes by the architecture.
"""
