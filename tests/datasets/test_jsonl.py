"""The packaged prompts are what their description says, and files of one's own load alike."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from speedbench import datasets
from speedbench.errors import DataError, UnknownNameError
from speedbench.records import CATEGORIES


def test_mini_holds_ten_prompts_in_each_of_the_eleven_categories() -> None:
    prompts = datasets.load("mini").prompts
    assert Counter(prompt.category for prompt in prompts) == dict.fromkeys(CATEGORIES, 10)
    assert len({prompt.id for prompt in prompts}) == 110
    assert len({prompt.turns for prompt in prompts}) == 110
    assert all(re.fullmatch(rf"mini/{p.category}-\d\d", p.id) for p in prompts)


def test_every_category_of_mini_has_a_conversation() -> None:
    prompts = datasets.load("mini").prompts
    assert Counter(len(prompt.turns) for prompt in prompts) == {1: 89, 2: 17, 3: 4}
    assert {prompt.category for prompt in prompts if len(prompt.turns) > 1} == set(CATEGORIES)


def test_mini_says_subcategory_language_and_where_it_applies_difficulty() -> None:
    prompts = datasets.load("mini").prompts
    assert all(prompt.subcategory and prompt.language for prompt in prompts)
    graded = {prompt.category for prompt in prompts if prompt.difficulty}
    assert graded == {"coding", "humanities", "math", "stem"}
    assert len({p.language for p in prompts if p.category == "multilingual"}) >= 8


def test_mini_is_clean_text() -> None:
    for prompt in datasets.load("mini").prompts:
        for turn in prompt.turns:
            assert unicodedata.normalize("NFC", turn) == turn, prompt.id
            assert turn.strip() == turn, prompt.id
            assert "\r" not in turn, prompt.id


def test_a_fingerprint_names_exactly_these_bytes(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    row = {"category": "qa", "turns": ["Why?"]}
    path.write_text(json.dumps(row))
    first = datasets.load(str(path)).fingerprint
    assert datasets.load(str(path)).fingerprint == first
    path.write_text(json.dumps(row) + "\n")
    assert datasets.load(str(path)).fingerprint != first


def test_rows_of_speed_bench_load_under_their_own_names(tmp_path: Path) -> None:
    path = tmp_path / "qualitative.jsonl"
    row = {
        "question_id": 81,
        "category": "math",
        "sub_category": "algebra",
        "turns": ["One?", "Two?"],
        "source": "somewhere",
        "difficulty": None,
        "multiturn": True,
    }
    path.write_text(json.dumps(row) + "\n\n")
    (prompt,) = datasets.load(str(path)).prompts
    assert (prompt.id, prompt.category, prompt.subcategory) == ("81", "math", "algebra")
    assert prompt.turns == ("One?", "Two?")
    assert prompt.difficulty is None
    assert datasets.load(str(path)).name == "qualitative"


def test_a_line_separator_within_a_prompt_does_not_end_the_line(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    turn = "a\u2028b\u0085c"
    row = {"category": "qa", "turns": [turn]}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8", newline="")
    assert datasets.load(str(path)).prompts[0].turns == (turn,)


@pytest.mark.parametrize("identifier", [0, "0"])
def test_zero_is_an_id(identifier: object, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"id": identifier, "category": "qa", "turns": ["Why?"]}))
    assert datasets.load(str(path)).prompts[0].id == "0"


def test_a_prompt_without_id_is_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"category": "qa", "turns": ["Why?"]}\n{"category": "qa", "turns": ["How?"]}')
    ids = [prompt.id for prompt in datasets.load(str(path)).prompts]
    assert len(set(ids)) == 2
    assert ids[1].endswith("own.jsonl:2")


def test_a_misspelt_name_and_a_missing_file_are_different_mistakes() -> None:
    with pytest.raises(UnknownNameError, match="mini"):
        datasets.load("minny")
    with pytest.raises(DataError, match="no such data file"):
        datasets.load("missing.jsonl")
