"""A configuration is checked once, completely, in the words of the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from speedbench.config import RunConfig, validated
from speedbench.errors import CallError


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(CallError) as caught:
        validated(values)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


EMBEDDED = {"engine": "embedded"}


def test_a_method_that_drafts_has_a_draft_length_and_none_has_none() -> None:
    lengths = {
        method: validated({"engine": {**EMBEDDED, "method": method}}).engine.draft_length
        for method in ("none", "ngram", "draft_model")
    }
    assert lengths == {"none": None, "ngram": 3, "draft_model": 3}


@pytest.mark.parametrize("draft_length", [1, 8])
def test_the_ends_of_the_range_are_in_it(draft_length: int) -> None:
    engine = {**EMBEDDED, "method": "draft_model", "draft_length": draft_length}
    assert validated({"engine": engine}).cell.draft_length == draft_length


@pytest.mark.parametrize("draft_length", [-1, 0, 9, 100])
def test_beyond_the_ends_is_refused(draft_length: int) -> None:
    engine = {**EMBEDDED, "method": "draft_model", "draft_length": draft_length}
    assert f"--draft-length {draft_length}: must lie between 1 and 8" in refusal({"engine": engine})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"engine": {"engine": "embedded", "tempo": 1}}, "--tempo"),
        ({"engine": EMBEDDED, "load": {"concurency": 2}}, "--concurency"),
        ({"engine": EMBEDDED, "extra": 1}, "--extra"),
        ({"engine": {"engine": "openai"}}, "--base-url is needed"),
        ({"engine": EMBEDDED, "sampling": {"temperature": 9}}, "--temperature 9"),
        ({"engine": EMBEDDED, "load": {"concurrency": 2.5}}, "--concurrency 2.5"),
    ],
)
def test_every_mistake_is_named_by_its_option(values: dict[str, Any], said: str) -> None:
    assert said in refusal(values)


def test_all_mistakes_are_told_at_once() -> None:
    said = refusal({"engine": {**EMBEDDED, "method": "x"}, "load": {"concurrency": 0}, "seed": -1})
    for part in ("method 'x'", "--concurrency 0", "--seed -1"):
        assert part in said


def test_it_is_frozen_and_survives_the_manifest() -> None:
    config = validated({"engine": {**EMBEDDED, "method": "ngram"}, "seed": 4})
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 5  # type: ignore[misc]
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_cells_have_names_of_their_own() -> None:
    names = {
        validated(
            {
                "engine": {**EMBEDDED, "method": method, "pair": pair},
                "load": {"concurrency": concurrency},
                "repeat": repeat,
            }
        ).cell.name
        for method in ("none", "ngram", "draft_model")
        for pair in ("expanded", "unexpanded", "drafter")
        for concurrency in (1, 12)
        for repeat in (0, 1)
    }
    assert len(names) == 36


def test_a_key_among_launch_arguments_is_written_down_nowhere() -> None:
    config = validated(
        {
            "engine": {
                "engine": "vllm",
                "model": "m",
                "launch": {
                    "args": ["--api-key", "sesame", "--hf-token=sesame", "--max-model-len", "8"],
                    "command": "serve --port {port} --api-key sesame",
                },
            }
        }
    )
    written = json.dumps(config.model_dump(mode="json"))
    assert "sesame" not in written
    assert "--max-model-len" in written
