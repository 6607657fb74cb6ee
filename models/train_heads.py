"""Train the heads of `models.heads`.

    python -m models.train_heads eagle3 --work WORK --out models/heads
    python -m models.train_heads eagle3 --work WORK --out models/heads --continued --steps 0 0 80
    python -m models.train_heads mtp    --work WORK --out models/heads

They are trained as they are used: unrolled, each step on the features that the step before made
("training-time test", arXiv 2503.01840), while attention sees the true features of everything
older.  WORK holds the corpus (`models.corpus`) and, where --steps asks for the target's own text,
what `models.train sample` made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.heads import CONFIGS, HEADS, Eagle3, Head, Mtp, moved
from models.llama import Llama, load, write_json
from models.train import (
    BATCH_TOKENS,
    SEQUENCE_TOKENS,
    LossOf,
    Rates,
    backward_in_chunks,
    batches_of,
    fit,
    keep_freed_memory,
)

UNROLLED = 4
DISCOUNT = 0.8
"""Of the loss from one unrolled step to the next."""
STEPS = (80, 120, 0)
DOCUMENTS = 5000
PAIR = Path("src/speedbench/demo_pair")
RATES = Rates(muon=0.02, adamw=0.004)

Steps = tuple[int, int, int]


class Told(TypedDict):
    """What is written down of one training run."""

    continued: bool
    seed: int
    steps: Steps


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


def batches_for(work: Path, steps: Steps) -> list[np.ndarray]:
    """Short prompts, dressed ones, then what the target sampled (`models.train sample`)."""
    n_short, n_dressed, n_sampled = steps
    batches = batches_of(tokens(work / "train.jsonl"), SEQUENCE_TOKENS, n_short)
    batches += batches_of(tokens(work / "dressed.jsonl"), SEQUENCE_TOKENS, n_dressed)
    if n_sampled:
        rows = np.load(work / "sampled.npy").astype(np.int64)
        per_batch = BATCH_TOKENS // SEQUENCE_TOKENS
        wanted = np.arange(n_sampled * per_batch) % len(rows)
        batches += [rows[part] for part in np.array_split(wanted, n_sampled)]
    return batches


def train(kind: str, work: Path, out: Path, told: Told) -> None:
    """Train a head, or the stored one further, and store it in fp16."""
    target = load(PAIR / "target")
    for weight in target.parameters():
        weight.requires_grad_(False)
    head, folder = HEADS[kind](), out / kind
    stored, history = folder / "model.safetensors", folder / "training.json"
    before: list[Told] = []
    if told["continued"]:
        head.load_state_dict({name: w.float() for name, w in load_file(stored).items()})
        before = json.loads(history.read_bytes())
    else:
        initialise(head, torch.Generator().manual_seed(told["seed"]))
    batches = batches_for(work, told["steps"])
    fit(head, batches, unrolled_loss(target), RATES, work / f"{kind}.checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: w.detach().half().contiguous() for name, w in head.named_parameters()}
    save_file(tensors, stored, metadata={"format": "pt"})
    stored.chmod(0o644)
    write_json(history, [*before, told])
    write_json(folder / "config.json", CONFIGS[kind])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["eagle3", "mtp"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps",
        type=int,
        nargs=3,
        default=STEPS,
        metavar=("SHORT", "DRESSED", "SAMPLED"),
        help="batches of short prompts, of dressed prompts and of the target's own text",
    )
    parser.add_argument("--continued", action="store_true", help="begin with the stored head")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    steps = (args.steps[0], args.steps[1], args.steps[2])
    told: Told = {"continued": args.continued, "seed": args.seed, "steps": steps}
    train(args.kind, args.work, args.out, told)


if __name__ == "__main__":
    main()
