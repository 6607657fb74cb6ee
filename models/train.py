"""Train the target, let it write text, and distil the drafter from it.

    python -m models.train target  --work WORK --out OUT
    python -m models.train sample  --work WORK --out OUT
    python -m models.train drafter --work WORK --out OUT

WORK holds what `models.corpus` and `models.tokenizer` made.  Everything is counted in tokens, never
in seconds, so a run is repeated exactly by repeating the command with the same number of threads.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.llama import DRAFTER, TARGET, Cache, Llama, load, round_to_half, save
from models.optim import Muon

SEQUENCE_TOKENS = 512
LONG_SEQUENCE_TOKENS = 4096
BATCH_TOKENS = 4096
MICRO_BATCH_TOKENS = 2048
LOSS_CHUNK_TOKENS = 1024
WARM_UP_STEPS = 20
DECAY_SHARE = 0.4
REPORT_EVERY = 10
SAMPLED_STEPS = 80
SAMPLED_ROUNDS = 4
SAMPLED_TEMPERATURES = (1.0, 0.7)
WORKERS = 2

LossOf = Callable[[Llama, Tensor, int], float]


@dataclass(frozen=True)
class Steps:
    """Batches of each part of the corpus, in this order."""

    short: int
    dressed: int
    long: int


STEPS = {"target": Steps(310, 210, 7), "sample": Steps(0, 0, 0), "drafter": Steps(80, 90, 5)}


@dataclass(frozen=True)
class Rates:
    """Peak learning rates: Muon's for matrices, AdamW's for the embedding and the norms."""

    muon: float
    adamw: float


def keep_freed_memory() -> None:
    """Stop glibc from giving large buffers back at every step; page faults cost a third of it."""
    if sys.platform == "linux":
        m_trim_threshold, m_mmap_max = -1, -4
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


def windows(tokens: np.ndarray, length: int) -> np.ndarray:
    """Consecutive windows of length + 1: inputs and, shifted by one, their targets."""
    count = (len(tokens) - 1) // length
    starts = np.arange(count) * length
    return np.stack([tokens[s : s + length + 1] for s in starts]).astype(np.int64)


def micro_batches(batch: np.ndarray) -> Iterator[Tensor]:
    rows = max(1, MICRO_BATCH_TOKENS // (batch.shape[1] - 1))
    for start in range(0, len(batch), rows):
        yield torch.from_numpy(batch[start : start + rows])


def backward_in_chunks(
    hidden: Tensor, weight: Tensor, n_tokens: int, chunk_loss: Callable[[Tensor, slice], Tensor]
) -> float:
    """Sum of losses over `n_tokens`, differentiated.

    Logits are made for a thousand tokens at a time, so that they stay in the processor's cache.
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    leaf = flat.detach().requires_grad_()
    total = 0.0
    for start in range(0, len(flat), LOSS_CHUNK_TOKENS):
        part = slice(start, start + LOSS_CHUNK_TOKENS)
        loss = chunk_loss(leaf[part] @ weight.T, part) / n_tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    flat.backward(leaf.grad)  # type: ignore[no-untyped-call]
    return total


def next_token_loss(model: Llama, rows: Tensor, n_tokens: int) -> float:
    labels = rows[:, 1:].reshape(-1)

    def cross_entropy(logits: Tensor, part: slice) -> Tensor:
        return F.cross_entropy(logits, labels[part], reduction="sum")

    hidden = model(rows[:, :-1])
    return backward_in_chunks(hidden, model.embed_tokens.weight, n_tokens, cross_entropy)


def distillation_loss(target: Llama) -> LossOf:
    """KL divergence of the drafter from the target, at every position of the text."""

    def loss_of(drafter: Llama, rows: Tensor, n_tokens: int) -> float:
        inputs = rows[:, :-1]
        with torch.no_grad():
            wanted = target(inputs).reshape(-1, target.shape.hidden)

        def kl(logits: Tensor, part: slice) -> Tensor:
            with torch.no_grad():
                log_p = F.log_softmax(target.logits(wanted[part]), dim=-1)
            return F.kl_div(F.log_softmax(logits, -1), log_p, reduction="sum", log_target=True)

        return backward_in_chunks(drafter(inputs), drafter.embed_tokens.weight, n_tokens, kl)

    return loss_of


def optimisers(model: Llama, rates: Rates) -> list[torch.optim.Optimizer]:
    matrices = [w for n, w in model.named_parameters() if w.ndim == 2 and "embed" not in n]
    others = [w for n, w in model.named_parameters() if w.ndim != 2 or "embed" in n]
    return [
        *(Muon(matrices[i::WORKERS], lr=rates.muon) for i in range(WORKERS)),
        torch.optim.AdamW(others, lr=rates.adamw, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_factor(step: int, n_steps: int) -> float:
    """Warm up, hold, then fall linearly to zero over the last part."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * min(1.0, (n_steps - step) / max(1.0, DECAY_SHARE * n_steps))


class Workers:
    """Replicas that share the model's weights, each on a thread of its own.

    One thread per replica instead of several threads per operation: nothing waits inside an
    operation, so a busy machine slows training in proportion and no further.  Gradients are added in
    the order of the replicas, so the sum is the same every time.
    """

    def __init__(self, model: Llama, loss_of: LossOf) -> None:
        self.model = model
        self.loss_of = loss_of
        self.replicas = [copy.deepcopy(model) for _ in range(WORKERS)]
        for replica in self.replicas:
            for own, shared in zip(replica.parameters(), model.parameters(), strict=True):
                own.data = shared.data
        # OpenMP keeps the number of threads per thread.
        self.pool = ThreadPoolExecutor(WORKERS, initializer=torch.set_num_threads, initargs=(1,))

    def backward(self, batch: np.ndarray) -> float:
        """Leave the batch's gradient in the model; returns its loss."""
        parts = list(micro_batches(batch))
        n_tokens = batch.shape[0] * (batch.shape[1] - 1)

        def work(i: int) -> float:
            return sum(self.loss_of(self.replicas[i], rows, n_tokens) for rows in parts[i::WORKERS])

        loss = sum(self.pool.map(work, range(WORKERS)))
        for weights in zip(
            self.model.parameters(), *(r.parameters() for r in self.replicas), strict=True
        ):
            grads = [w.grad for w in weights[1:] if w.grad is not None]
            weights[0].grad = torch.stack(grads).sum(0)
            for weight in weights[1:]:
                weight.grad = None
        return loss

    def update(self, groups: list[torch.optim.Optimizer]) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        list(self.pool.map(lambda optimiser: optimiser.step(), groups))


class Checkpoint:
    """Where training stands, kept in one file.

    The rate is constant until the final decay, so a run may be taken up again with another number of
    steps, as long as the decay has not begun: it ends as if it had been started with that number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, step: int, model: Llama, groups: list[torch.optim.Optimizer]) -> None:
        state = {
            "step": step,
            "model": model.state_dict(),
            "groups": [g.state_dict() for g in groups],
        }
        torch.save(state, self.path)

    def load(self, model: Llama, groups: list[torch.optim.Optimizer]) -> int:
        """Restore; returns the number of steps done, zero if there is no file."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(state["model"][name])
        for group, saved in zip(groups, state["groups"], strict=True):
            group.load_state_dict(saved)
        return int(state["step"])


def fit(model: Llama, batches: list[np.ndarray], loss_of: LossOf, rates: Rates, path: Path) -> None:
    """One optimiser step per batch; `path` is the checkpoint, removed at the end."""
    workers = Workers(model, loss_of)
    groups = optimisers(model, rates)
    peaks = [g.param_groups[0]["lr"] for g in groups]
    checkpoint = Checkpoint(path)
    first = checkpoint.load(model, groups)
    started_s = time.monotonic()
    recent: list[float] = []
    for step in range(first, len(batches)):
        for optimiser, peak in zip(groups, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * rate_factor(step, len(batches))
        recent.append(workers.backward(batches[step]))
        workers.update(groups)
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == len(batches):
            checkpoint.save(step + 1, model, groups)
            elapsed_s, mean = time.monotonic() - started_s, sum(recent) / len(recent)
            print(
                f"{path.stem} {step + 1}/{len(batches)} loss {mean:.3f} {elapsed_s:.0f} s",
                flush=True,
            )
            recent.clear()
    path.unlink(missing_ok=True)


def batches_of(tokens: np.ndarray, length: int, n_batches: int) -> list[np.ndarray]:
    """The first n batches, starting over when the text is used up; every worker has something to do."""
    rows = windows(tokens, length)
    per_batch = max(WORKERS, BATCH_TOKENS // length)
    wanted = np.arange(n_batches * per_batch) % len(rows)
    return [rows[part] for part in np.array_split(wanted, n_batches)] if n_batches else []


def corpus_batches(work: Path, steps: Steps) -> list[np.ndarray]:
    """Short prompts first, then dressed ones, then long documents."""
    parts = (
        ("train", SEQUENCE_TOKENS, steps.short),
        ("dressed", SEQUENCE_TOKENS, steps.dressed),
        ("long", LONG_SEQUENCE_TOKENS, steps.long),
    )
    return [
        b for name, length, n in parts for b in batches_of(np.load(work / f"{name}.npy"), length, n)
    ]


def train_target(work: Path, out: Path, steps: Steps, seed: int) -> None:
    batches = corpus_batches(work, steps)
    model = Llama(TARGET)
    model.initialise(torch.Generator().manual_seed(seed))
    fit(model, batches, next_token_loss, Rates(0.02, 0.006), work / "target.checkpoint")
    round_to_half(model)
    save(model, out / "target")


@torch.no_grad()
def continue_text(
    model: Llama, prefix: Tensor, n_new: int, temperature: float, generator: torch.Generator
) -> Tensor:
    """Sample the next tokens of all rows at once."""
    cache = Cache(model.shape, len(prefix), prefix.shape[1] + n_new)
    ids, rows = prefix, [prefix]
    for _ in range(n_new):
        logits = model.logits(model(ids, cache)[:, -1])
        probabilities = (logits / temperature).softmax(-1)
        ids = torch.multinomial(probabilities, 1, generator=generator)
        rows.append(ids)
    return torch.cat(rows, dim=1)


def sample_target(work: Path, out: Path, n_rounds: int, seed: int) -> None:
    """Text in the target's own words: beginnings from the corpus, the rest sampled."""
    n_rows, n_prefix = 64, 96
    model = load(out / "target")
    starts = windows(np.load(work / "starts.npy"), n_prefix)[:, :n_prefix]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(starts), generator=generator).numpy()
    blocks = []
    for i in range(n_rounds):
        prefix = torch.from_numpy(
            starts[order[np.arange(i * n_rows, (i + 1) * n_rows) % len(order)]]
        )
        new = SEQUENCE_TOKENS + 1 - n_prefix
        temperature = SAMPLED_TEMPERATURES[i % len(SAMPLED_TEMPERATURES)]
        block = continue_text(model, prefix, new, temperature, generator)
        blocks.append(block.numpy().astype(np.uint16))
        print(f"sample round {i + 1}/{n_rounds}", flush=True)
    np.save(work / "sampled.npy", np.concatenate(blocks))


def train_drafter(work: Path, out: Path, steps: Steps, n_sampled: int, seed: int) -> None:
    target = load(out / "target")
    drafter = Llama(DRAFTER)
    drafter.initialise(torch.Generator().manual_seed(seed))
    rows = np.load(work / "sampled.npy").astype(np.int64)
    per_batch = BATCH_TOKENS // SEQUENCE_TOKENS
    picks = [np.arange(i * per_batch, (i + 1) * per_batch) % len(rows) for i in range(n_sampled)]
    corpus = corpus_batches(work, steps)
    n_first = steps.short + steps.dressed
    batches = corpus[:n_first] + [rows[p] for p in picks] + corpus[n_first:]
    loss_of = distillation_loss(target)
    fit(drafter, batches, loss_of, Rates(0.02, 0.008), work / "drafter.checkpoint")
    round_to_half(drafter)
    save(drafter, out / "drafter")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=["target", "sample", "drafter"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps",
        type=int,
        nargs=3,
        metavar=("SHORT", "DRESSED", "LONG"),
        help="batches of short prompts, of dressed prompts and of long documents",
    )
    parser.add_argument("--sampled-steps", type=int, default=SAMPLED_STEPS)
    parser.add_argument("--rounds", type=int, default=SAMPLED_ROUNDS)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    steps = Steps(*args.steps) if args.steps else STEPS[args.stage]
    if args.stage == "target":
        train_target(args.work, args.out, steps, args.seed)
    elif args.stage == "sample":
        sample_target(args.work, args.out, args.rounds, args.seed)
    else:
        train_drafter(args.work, args.out, steps, args.sampled_steps, args.seed)


if __name__ == "__main__":
    main()
