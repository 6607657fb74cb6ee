"""The tokenizer graph that OpenVINO gets encodes exactly like the tokenizer speedbench uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speedbench import datasets
from speedbench.engines.embedded.models import prepare_pair
from speedbench.tokenization import ChatTokenizer

genai = pytest.importorskip("openvino_genai", reason="the embedded engine is not installed")

SAMPLES = [
    "Hello, world!",
    "  leading, trailing  and\tinner   blanks \n\n",
    "def f(x):\r\n\treturn x**2 + 3.14e-10  # naïve",
    "Straße, façade, garçon, mañana, ¿qué?",
    "Съешь же ещё этих мягких французских булок",
    "いろはにほへと ちりぬるを。色は匂へど",
    "我能吞下玻璃而不伤身体，123",
    "نص حكيم له سر قاطع وذو شأن عظيم",
    "हिन्दी में एक वाक्य",
    "👩‍👩‍👧‍👦 🇧🇷 e\u0301 \u00a0 \u200b",
    "<|user|>\nspecial tokens<|end|>\n<|assistant|>\n",
    "1234567890 0.5 1,000,000",
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return genai.Tokenizer(str(prepare_pair("unexpanded").target))


@pytest.mark.parametrize("text", SAMPLES)
def test_a_multilingual_sample_is_encoded_alike(
    text: str, tokenizer: Any, demo_tokenizer: ChatTokenizer
) -> None:
    found = tokenizer.encode(text, add_special_tokens=False).input_ids.data[0].tolist()
    assert found == demo_tokenizer.encode(text)


def test_every_prompt_of_mini_is_encoded_alike_and_decoded_back(
    tokenizer: Any, demo_tokenizer: ChatTokenizer
) -> None:
    for prompt in datasets.load("mini").prompts:
        for turn in prompt.turns:
            ids = tokenizer.encode(turn, add_special_tokens=False).input_ids.data[0].tolist()
            assert ids == demo_tokenizer.encode(turn), prompt.id
            assert tokenizer.decode(ids) == demo_tokenizer.decode(ids) == turn, prompt.id


def test_preparing_the_pair_twice_gives_the_same_directories(tmp_path: Path) -> None:
    first = prepare_pair("unexpanded", cache=tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert prepare_pair("unexpanded", cache=tmp_path) == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")], "unfinished directories"
