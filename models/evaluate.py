"""Measure the pair: loss per category, repetition, and acceptance.

    python -m models.evaluate --work WORK --out OUT [--temperatures 0 0.7 1.0]

Speculation is lossless, so the text is the target's own, sampled with a seeded source; a draft token
is accepted if it equals the token the target took there (at temperature 0: both take the largest
logit).  This counts what an engine counts that samples the target and compares.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from tokenizers import Tokenizer
from torch import Tensor

from models.llama import END_ID, Cache, Llama, load, write_json
from models.prompts import PROMPTS

DRAFT_LENGTH = 3
MAX_NEW_TOKENS = 96
MAX_LOSS_TOKENS = 512


def chat(prompt: str) -> str:
    return f"<|bos|><|user|>\n{prompt}<|end|>\n<|assistant|>\n"


def pick(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))


class Decoder:
    """A model that can be fed tokens and taken back to an earlier length."""

    def __init__(self, model: Llama, capacity: int) -> None:
        self.model = model
        self.cache = Cache(model.shape, 1, capacity)

    def feed(self, ids: list[int], length: int) -> Tensor:
        """Logits after each of `ids`, the first of which stands at position `length`."""
        self.cache.length = length
        hidden = self.model(torch.tensor([ids]), self.cache)
        return self.model.logits(hidden[0])


def propose(
    drafter: Decoder, ids: list[int], seen: int, temperature: float, generator: torch.Generator
) -> list[int]:
    """Draft tokens that follow `ids`, of which the drafter has already seen a part."""
    draft: list[int] = []
    for _ in range(DRAFT_LENGTH):
        logits = drafter.feed((ids + draft)[seen:], seen)
        seen = len(ids) + len(draft)
        draft.append(pick(logits[-1], temperature, generator))
    return draft


def speculate(
    target: Llama, drafter: Llama, prompt: list[int], temperature: float, seed: int
) -> tuple[list[int], list[int]]:
    """The answer's tokens, and the number of tokens each step emitted (prefill token excluded)."""
    capacity = len(prompt) + MAX_NEW_TOKENS + DRAFT_LENGTH + 1
    verifier, guesser = Decoder(target, capacity), Decoder(drafter, capacity)
    draws, guesses = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    ids = [*prompt, pick(verifier.feed(prompt, 0)[-1], temperature, draws)]
    seen, steps = 0, []
    while ids[-1] != END_ID and len(ids) - len(prompt) < MAX_NEW_TOKENS:
        draft = propose(guesser, ids, seen, temperature, guesses)
        logits = verifier.feed([ids[-1], *draft], len(ids) - 1)
        start = len(ids)
        for i, guess in enumerate([*draft, -1]):
            ids.append(pick(logits[i], temperature, draws))
            if ids[-1] != guess or ids[-1] == END_ID or len(ids) - len(prompt) == MAX_NEW_TOKENS:
                break
        steps.append(len(ids) - start)
        # The last token of a step was not fed to the drafter, and a wrong guess must be forgotten.
        seen = min(len(ids) - 1, start + DRAFT_LENGTH - 1)
    return ids[len(prompt) :], steps


def distinct_3(ids: list[int]) -> float:
    """Share of different 3-grams among all; NaN for fewer than three tokens."""
    grams = list(zip(ids, ids[1:], ids[2:], strict=False))
    return len(set(grams)) / len(grams) if grams else math.nan


def mean(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


@torch.no_grad()
def acceptance(
    target: Llama, drafter: Llama, tokenizer: Tokenizer, temperature: float
) -> dict[str, dict[str, float]]:
    """Per category: tokens per step, mean answer length, distinct 3-grams."""
    table = {}
    all_steps: list[int] = []
    for category, prompts in PROMPTS.items():
        answers, steps = [], []
        for i, prompt in enumerate(prompts):
            ids = tokenizer.encode(chat(prompt)).ids
            answer, counts = speculate(target, drafter, ids, temperature, seed=1000 + i)
            answers.append(answer)
            steps += counts
        all_steps += steps
        table[category] = {
            "al_per_step": sum(steps) / len(steps) if steps else math.nan,
            "distinct_3": mean([distinct_3(a) for a in answers]),
            "mean_tokens": mean([float(len(a)) for a in answers]),
        }
    table["all"] = {
        "al_per_step": sum(all_steps) / len(all_steps),
        "distinct_3": mean([row["distinct_3"] for row in table.values()]),
        "mean_tokens": mean([row["mean_tokens"] for row in table.values()]),
    }
    return table


@torch.no_grad()
def losses(model: Llama, tokenizer: Tokenizer, held_out: Path) -> dict[str, float]:
    """Nats per token on held-out conversations, by category."""
    total: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for line in held_out.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        ids = torch.tensor([tokenizer.encode(row["text"]).ids[: MAX_LOSS_TOKENS + 1]])
        logits = model.logits(model(ids[:, :-1]))[0]
        total[row["category"]] += F.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count[row["category"]] += ids.shape[1] - 1
    table = {c: total[c] / count[c] for c in sorted(total)}
    table["all"] = sum(total.values()) / sum(count.values())
    return table


def show(temperature: float, table: dict[str, dict[str, float]]) -> None:
    print(
        f"\ntemperature {temperature}: AL per step (K = {DRAFT_LENGTH}), distinct 3-grams, mean tokens"
    )
    for category, row in table.items():
        print(
            f"  {category:14} {row['al_per_step']:5.2f} {row['distinct_3']:6.2f} {row['mean_tokens']:6.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 0.7, 1.0])
    parser.add_argument("--texts", action="store_true", help="print one answer per category")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(args.out / "target" / "tokenizer.json"))
    target, drafter = load(args.out / "target"), load(args.out / "drafter")
    found: dict[str, object] = {}
    for temperature in args.temperatures:
        table = acceptance(target, drafter, tokenizer, temperature)
        show(temperature, table)
        found[f"temperature {temperature}"] = table
    for name, model in (("target", target), ("drafter", drafter)):
        found[f"loss {name}"] = table_of = losses(model, tokenizer, args.work / "held_out.jsonl")
        print(
            f"\nloss of the {name}, nats per token:", {c: round(v, 2) for c, v in table_of.items()}
        )
    write_json(args.work / "evaluation.json", found)
    if args.texts:
        show_texts(target, drafter, tokenizer)


@torch.no_grad()
def show_texts(target: Llama, drafter: Llama, tokenizer: Tokenizer) -> None:
    for category, prompts in PROMPTS.items():
        answer, _ = speculate(
            target, drafter, tokenizer.encode(chat(prompts[0])).ids, 0.7, seed=1000
        )
        print(f"\n[{category}] {prompts[0]}\n{tokenizer.decode(answer)}")


if __name__ == "__main__":
    main()
