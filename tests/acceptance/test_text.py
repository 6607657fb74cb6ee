"""Repetition, against definitions spelled out by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedbench.acceptance import distinct_ngram_share, find_loop
from speedbench.errors import CallError


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4))
def test_distinct_share_counts_a_set(ids, n):
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    share = distinct_ngram_share(ids, n)
    if grams:
        assert share == len(set(grams)) / len(grams)
    else:
        assert np.isnan(share)


def longest_cycle(ids, max_period, min_repeats, min_tokens):
    """Try every start and period; a tail from `start` repeats what stands one period before."""
    for start in range(1, len(ids)):
        for period in range(1, min(max_period, start) + 1):
            tail = range(start, len(ids))
            cycles = len(ids) - start + period
            if cycles < max(min_tokens, min_repeats * period):
                continue
            if all(ids[i] == ids[i - period] for i in tail):
                return start
    return None


@given(st.lists(st.integers(0, 2), max_size=30))
def test_a_loop_is_the_longest_repeating_tail(ids):
    found = find_loop(ids, max_period=6, min_repeats=3, min_tokens=8)
    expected = longest_cycle(ids, 6, 3, 8)
    if expected is None:
        # Only a last token that breaks the cycle, such as end-of-sequence, may hide one.
        expected = longest_cycle(ids[:-1], 6, 3, 8)
    assert (None if found is None else found.start) == expected


def test_the_first_pass_belongs_to_the_response():
    text = list(range(50))
    loop = find_loop([*text, *[90, 91, 92, 93, 94] * 6])
    assert loop is not None
    assert (loop.start, loop.period, loop.n_tokens) == (55, 5, 25)


def test_an_end_of_sequence_after_the_loop_does_not_hide_it():
    loop = find_loop([*range(20), *[7, 8] * 12, 2])
    assert loop is not None
    assert loop.period == 2


def test_short_and_honest_texts_do_not_loop():
    assert find_loop([]) is None
    assert find_loop([1]) is None
    assert find_loop([5, 5, 5, 5]) is None
    assert find_loop([*range(40), *range(40)]) is None


def test_nonsense_is_refused():
    with pytest.raises(CallError, match="at least one token"):
        distinct_ngram_share([1, 2, 3], 0)
    with pytest.raises(CallError, match="at least 2 passes"):
        find_loop([1, 2, 3], min_repeats=1)
