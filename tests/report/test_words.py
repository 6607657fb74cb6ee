"""Numbers and decisions in words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from speedbench.records import Estimate
from speedbench.report import words


def ratio(value: float, low: float, high: float, unit: str = "ratio") -> Estimate:
    return Estimate(estimand="x", value=value, low=low, high=high, n=8, unit=unit, evidence="test")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (ratio(1.24, 1.067, 1.438), "1.24 [1.06, 1.44]"),
        (ratio(1.4, 1e-30, 2.2e38), "1.40 [<0.01, >99]"),
        (ratio(1.4, 0.0, math.inf), "1.40 [0.00, >99]"),
        (ratio(14.26, 9.99, 27.18), "14.3 [9.99, 27.2]"),
        (ratio(1.1, math.nan, math.nan), "1.10"),
        (ratio(math.nan, math.nan, math.nan), "-"),
        (ratio(0.0, 0.0, 0.0), "0.00 [0.00, 0.00]"),
        (ratio(0.6, -3.3, 4.4, "share"), "0.60 [0.00, 1.00]"),
        (ratio(1.0017, 0.998, 1.0053, "tokens/step"), "1.00 [1.00, 1.01]"),
        (ratio(0.3211, 0.2659, 0.3631, "s"), "321 [265, 364]"),
        (ratio(132.6, 125.3, 140.2, "tokens/s"), "133 [125, 141]"),
        (ratio(0.0312, 0.0301, 0.0329, "target steps"), "0.031 [0.030, 0.033]"),
    ],
)
def test_estimates_print_readably(found: Estimate, text: str) -> None:
    assert words.estimate_text(found) == text


def test_a_bound_is_never_rounded_across_break_even() -> None:
    assert words.bounds_text(ratio(1.09, 0.9959, 1.18)).startswith("[0.99,")


def test_an_undefined_number_is_never_printed_as_zero() -> None:
    undefined = Estimate.undefined("ar_3", "probability", "no prompt with data")
    assert words.estimate_text(undefined) == "-"


def test_marks_that_disturb_their_surroundings_are_written_out() -> None:
    assert words.visible("a\u202eb\x1b[31mc\nd") == "a\\u202eb\\u001b[31mc\\u000ad"


def test_scripts_and_emoji_stay_as_they_are() -> None:
    assert words.visible("数学 मराठी ‌ עברית") == "数学 मराठी ‌ עברית"


def test_long_text_is_cut() -> None:
    assert len(words.visible("x" * 1_000_000)) == 49


def decision(
    verdict: str, name: str | None, load: int = 1, method: str = "ngram"
) -> dict[str, Any]:
    on = verdict == "on"
    return {
        "verdict": verdict,
        "concurrency": load,
        "slice": {} if name is None else {"category": name},
        "method": method if on else None,
        "draft_length": 3 if on else None,
    }


NAMES = ("coding", "math", "qa", "rag", "stem", "writing")


@pytest.mark.parametrize(
    ("decisions", "sentence"),
    [
        (
            [
                decision("on", "coding", method="draft_model"),
                decision("on", "math", method="draft_model"),
                decision("on", "qa"),
                decision("off", "roleplay"),
                decision("cannot tell", "rag"),
                decision("on", None, method="draft_model"),
            ],
            "At 1 stream: draft_model γ=3 pays for coding and math; ngram γ=3 pays for qa; nothing "
            "pays for roleplay; cannot tell for rag. All prompts together: draft_model γ=3 pays.",
        ),
        (
            [decision("off", name, load=8) for name in (*NAMES, None)],
            "At 8 streams: nothing pays for any of the 6 categories, nor for all prompts together.",
        ),
        (
            [decision("on", name) for name in (*NAMES, None)],
            "At 1 stream: ngram γ=3 pays for all 6 categories, and for all prompts together.",
        ),
        (
            [decision("on", "coding"), *(decision("cannot tell", n) for n in NAMES[1:])],
            "At 1 stream: ngram γ=3 pays for coding; cannot tell for the other 5 categories.",
        ),
        ([decision("off", None)], "At 1 stream: over all prompts, nothing pays."),
    ],
)
def test_conclusions(decisions: list[dict[str, Any]], sentence: str) -> None:
    assert words.conclusions(decisions) == [sentence]


def test_each_load_has_its_sentence_and_doubt_its_remedy() -> None:
    said = words.conclusions([decision("on", None), decision("cannot tell", None, load=8)])
    assert said == [
        "At 1 stream: over all prompts, ngram γ=3 pays.",
        "At 8 streams: over all prompts, cannot tell.",
        "More launches and more prompts narrow the intervals.",
    ]


def test_nothing_decided_says_nothing() -> None:
    assert words.conclusions([]) == []
