"""Train the pair's tokenizer and turn the corpus into token arrays.

python -m models.tokenizer --work WORK --out OUT
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from models.llama import MAX_POSITIONS, VOCAB_SIZE, write_json

SPECIAL = ["<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
N_START_TOKENS = 96
CHAT_TEMPLATE = (
    "{{ '<|bos|>' }}"
    "{% for message in messages %}"
    "{% if not loop.first %}{{ '\\n' }}{% endif %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n<|assistant|>\\n' }}{% endif %}"
)


def train(texts: list[str]) -> Tokenizer:
    """Byte-level BPE; every digit is a token of its own, so that numbers can be worked with."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": "<|bos|>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|end|>",
        "model_max_length": MAX_POSITIONS,
        "pad_token": "<|end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(folder / "tokenizer_config.json", config)


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [e.ids for e in tokenizer.encode_batch_fast(texts)]


def flat(documents: list[list[int]]) -> np.ndarray:
    return np.concatenate([np.array(d, dtype=np.uint16) for d in documents])


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    train_set = [d["text"] for d in read(args.work / "train.jsonl")]
    tokenizer = train(random.Random(0).sample(train_set, min(len(train_set), 15000)))
    save(tokenizer, args.out / "target")
    documents = encode(tokenizer, train_set)
    np.save(args.work / "train.npy", flat(documents))
    dressed = encode(tokenizer, [d["text"] for d in read(args.work / "dressed.jsonl")])
    np.save(args.work / "dressed.npy", flat(dressed))
    documents = dressed + documents[: len(dressed)]
    starts = [d[:N_START_TOKENS] for d in documents if len(d) >= N_START_TOKENS]
    np.save(args.work / "starts.npy", flat([*starts, [0]]))
    long = [d["text"] for d in read(args.work / "long.jsonl")]
    np.save(args.work / "long.npy", flat(encode(tokenizer, long)))
    counts = {
        name: len(np.load(args.work / f"{name}.npy"))
        for name in ("train", "dressed", "long", "starts")
    }
    print("tokens:", counts)


if __name__ == "__main__":
    main()
