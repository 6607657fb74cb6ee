"""Decisions: the three answers, their reasons, and how often they are wrong."""

import math

import numpy as np
import pytest

from speedbench.errors import CallError
from speedbench.gate import Candidate, decide
from speedbench.stats import Interval, mean_interval


def candidate(value, se=0.02, df=40, method="draft_model", draft_length=3):
    return Candidate(method, draft_length, Interval.from_pivot(value, se, df, 41))


def test_on_takes_the_fastest_of_those_that_clear_the_bar():
    found = decide([candidate(1.3), candidate(1.5, draft_length=5), candidate(0.8)], margin=0.1)
    assert found.verdict == "on"
    assert found.candidate is not None
    assert found.candidate.draft_length == 5
    assert found.why.startswith("draft_model with draft length 5 gains 1.50x [")
    assert found.why.endswith("above 1.10x")


def test_a_faster_but_unsure_candidate_does_not_win():
    unsure = candidate(1.6, se=0.4, draft_length=8)
    found = decide([candidate(1.3), unsure])
    assert found.candidate is not None
    assert found.candidate.draft_length == 3


def test_off_when_all_are_below_the_bar_or_there_is_none():
    found = decide([candidate(0.8), candidate(0.9, method="ngram", draft_length=None)], what="qa")
    assert (found.verdict, found.candidate) == ("off", None)
    assert found.why.startswith("qa: even ngram gives 0.90x [")
    assert decide([]).verdict == "off"
    assert decide([]).why == "no way to speculate was measured"


def test_cannot_tell_when_the_bar_lies_within():
    found = decide([candidate(1.02), candidate(0.8, draft_length=1)])
    assert (found.verdict, found.candidate) == ("cannot tell", None)
    assert "which 1.00x lies within" in found.why


def test_cannot_compute_is_not_a_pass_and_not_a_fail():
    blind = Candidate("ngram", 3, Interval.undefined("no pairs of prompts"))
    found = decide([blind, candidate(0.8)])
    assert found.verdict == "cannot tell"
    assert found.why == "ngram with draft length 3 has no interval (no pairs of prompts)"
    # A sure winner needs nothing from the others.
    assert decide([blind, candidate(1.4)]).verdict == "on"


def test_more_comparisons_ask_for_more_evidence():
    close = candidate(1.055, se=0.025, df=math.inf)
    assert decide([close]).verdict == "on"
    found = decide([close], n_comparisons=44)
    assert found.verdict == "cannot tell"
    assert found.confidence == pytest.approx(1 - 0.05 / 44)


def test_bounds_without_an_error_are_used_only_at_the_level_they_have():
    bounds = Interval(1.3, 1.2, 1.4, 80, confidence=0.95)
    assert decide([Candidate("ngram", 3, bounds)]).verdict == "on"
    assert decide([Candidate("ngram", 3, bounds)], n_comparisons=2).verdict == "cannot tell"


def test_a_negative_margin_tolerates_a_loss():
    assert decide([candidate(0.97, se=0.005)], margin=-0.05).verdict == "on"


def test_nonsense_is_refused():
    with pytest.raises(CallError, match="no speed at all"):
        decide([candidate(1.0)], margin=-1)
    with pytest.raises(CallError, match="cannot hold 2 candidates"):
        decide([candidate(1.0), candidate(1.1)], n_comparisons=1)


def test_of_many_equal_candidates_one_is_turned_on_wrongly_in_few_runs():
    """Eight candidates that all give exactly 1.0x, 10 prompts: at most 2.5% of runs say on."""
    chance, wrong, runs = np.random.default_rng(11), 0, 1500
    for _ in range(runs):
        candidates = [
            Candidate("m", k, mean_interval(1 + 0.1 * chance.standard_normal(10), rng=chance))
            for k in range(8)
        ]
        wrong += decide(candidates).verdict == "on"
    # Bonferroni splits 5% over 8 two-sided intervals: 2.5% upwards, Monte Carlo error 0.4 points.
    assert wrong / runs <= 0.037
