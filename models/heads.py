"""Heads that draft from the target's hidden states: EAGLE-3 and multi-token prediction (MTP).

    python -m models.heads eagle3 --work WORK --out models/heads
    python -m models.heads mtp    --work WORK --out models/heads

Both are one decoder layer that reads the embedding of the next token and a feature of the position
before, and predicts what follows.  They are trained as they are used: unrolled, each step on the
features that the step before made ("training-time test", arXiv 2503.01840), while attention sees
the true features of everything older.  What is shared with the target (embedding, output) is not
stored; `models.export` puts it in.

EAGLE-3 follows vLLM's LlamaForCausalLMEagle3, MTP follows its MiMoForCausalLM (both 0.32).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.llama import (
    HEAD_DIM,
    NORM_EPS,
    TARGET,
    Llama,
    Mlp,
    load,
    rope_tables,
    rotate,
    split_heads,
    write_json,
)
from models.train import (
    LossOf,
    Rates,
    backward_in_chunks,
    batches_of,
    fit,
    keep_freed_memory,
)

AUX_LAYERS = (1, 2, 3)
"""EAGLE-3 sees the target's hidden states after so many layers."""
UNROLLED = 4
DISCOUNT = 0.8
"""Of the loss from one unrolled step to the next."""
STEPS = {"short": 80, "dressed": 120}
DOCUMENTS = 5000
PAIR = Path("src/speedbench/demo_pair")
RATES = Rates(muon=0.02, adamw=0.004)
SEQUENCE_TOKENS = 512


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


@torch.no_grad()
def states_of(target: Llama, ids: Tensor) -> list[Tensor]:
    """Hidden states after 0, 1, ... layers, before the last norm."""
    rope = (target.cos[: ids.shape[1]], target.sin[: ids.shape[1]])
    states = [target.embed_tokens(ids)]
    for i, layer in enumerate(target.layers):
        states.append(layer(states[-1], rope, i, None))
    return states


def unrolled_loss(target: Llama) -> LossOf:
    """KL divergence of the head from the target, summed over unrolled steps."""
    embedding = target.embed_tokens.weight.detach()

    def loss_of(head: nn.Module, rows: Tensor, n_tokens: int) -> float:
        assert isinstance(head, (Eagle3, Mtp))
        states = states_of(target, rows)
        with torch.no_grad():
            wanted = target.norm(states[-1])[:, 1:]
        embedded = embedding[rows[:, 1:]]
        feature = head.feature([state[:, :-1] for state in states])
        past: list[tuple[Tensor, Tensor]] = []
        outputs = []
        for step in range(UNROLLED):
            read, following = head.step(embedded, feature, past)
            # The first positions of a later step stand on features that are not there.
            outputs.append(read[:, step:])
            feature = moved(following, 1)
        read = torch.cat([o.reshape(-1, o.shape[-1]) for o in outputs])
        to_match = torch.cat([wanted[:, s:].reshape(-1, wanted.shape[-1]) for s in range(UNROLLED)])
        weight = torch.cat(
            [torch.full((o.shape[0] * o.shape[1],), DISCOUNT**s) for s, o in enumerate(outputs)]
        )
        weight = weight / sum(DISCOUNT**s for s in range(UNROLLED))

        def kl(logits: Tensor, part: slice) -> Tensor:
            with torch.no_grad():
                log_p = F.log_softmax(to_match[part] @ embedding.T, dim=-1)
            each = F.kl_div(
                F.log_softmax(logits, -1), log_p, reduction="none", log_target=True
            ).sum(-1)
            return (each * weight[part]).sum()

        return backward_in_chunks(read, embedding, n_tokens, kl)

    return loss_of


def initialise(head: Head, generator: torch.Generator) -> None:
    """Normal weights; projections that write to the residual stream start at zero."""
    for name, weight in head.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            nn.init.zeros_(weight)
        elif weight.ndim == 2:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)


def tokens(path: Path) -> np.ndarray:
    """The beginning of a part of the corpus, by the tokenizer that the pair has."""
    tokenizer = Tokenizer.from_file(str(PAIR / "target" / "tokenizer.json"))
    lines = path.read_text(encoding="utf-8").splitlines()[:DOCUMENTS]
    texts = [json.loads(line)["text"] for line in lines]
    return np.concatenate([np.array(e.ids, np.uint16) for e in tokenizer.encode_batch_fast(texts)])


def train(kind: str, work: Path, out: Path, steps: dict[str, int], seed: int) -> None:
    target = load(PAIR / "target")
    for weight in target.parameters():
        weight.requires_grad_(False)
    head = Eagle3() if kind == "eagle3" else Mtp()
    initialise(head, torch.Generator().manual_seed(seed))
    parts = {"short": "train", "dressed": "dressed"}
    batches = [
        batch
        for part, name in parts.items()
        for batch in batches_of(tokens(work / f"{name}.jsonl"), SEQUENCE_TOKENS, steps[part])
    ]
    fit(head, batches, unrolled_loss(target), RATES, work / f"{kind}.checkpoint")
    folder = out / kind
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: w.detach().half().contiguous() for name, w in head.named_parameters()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    told = {"kind": kind, "unrolled": UNROLLED, "steps": steps, "seed": seed}
    write_json(folder / "training.json", told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["eagle3", "mtp"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", type=int, default=STEPS["short"])
    parser.add_argument("--dressed", type=int, default=STEPS["dressed"])
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    train(args.kind, args.work, args.out, {"short": args.short, "dressed": args.dressed}, args.seed)


if __name__ == "__main__":
    main()
