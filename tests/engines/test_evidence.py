"""Steps from chunks and counts, on answers whose truth is drawn: every cut, miss and merger.

An answer is drawn step by step, as an engine with speculation makes it; what the engine tells, and
the chunks that a client sees, follow from it.  Nothing here computes a figure of acceptance: the
steps that come out are held against the steps that went in.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from speedbench.engines.evidence import (
    Evidence,
    steps_from_count,
    steps_from_histogram,
    steps_from_lists,
)
from speedbench.errors import StreamError
from speedbench.records import Chunk, Step

GAMMA = 4
UNHURRIED = settings(deadline=None)


@dataclass(frozen=True)
class Truth:
    """One decode step as it was: `emitted` is less than `accepted` and one where it was cut."""

    drafted: int
    accepted: int
    emitted: int

    @property
    def cut(self) -> bool:
        return self.emitted <= self.accepted


@dataclass(frozen=True)
class Drawn:
    """An answer: its steps, and how many of its pieces (prefill, steps) each chunk holds."""

    steps: tuple[Truth, ...]
    shares: tuple[int, ...]

    @property
    def chunks(self) -> list[Chunk]:
        """What a client sees; a piece's stamp is its number, and a chunk's that of its last."""
        lengths = [1, *(step.emitted for step in self.steps)]
        chunks, at = [], 0
        for share in self.shares:
            n = sum(lengths[at : at + share])
            at += share
            chunks.append(Chunk(at_ns=at - 1, n_tokens=n))
        return chunks

    @property
    def joined(self) -> int:
        """How many steps share a chunk with another step; with the prefill alone is no harm."""
        return len(self.steps) + 1 - len(self.shares) - (self.shares[0] > 1)

    @property
    def hidden(self) -> int:
        """How many steps without a draft a cut can make up for."""
        lost = sum(step.accepted + 1 - step.emitted for step in self.steps)
        return min(lost, sum(not step.drafted for step in self.steps))

    @property
    def n_tokens(self) -> int:
        return sum(step.emitted for step in self.steps)

    @property
    def listed(self) -> tuple[list[int], list[int]]:
        """Drafted and accepted of the steps that had a draft, before any cut."""
        with_draft = [step for step in self.steps if step.drafted]
        return [s.drafted for s in with_draft], [s.accepted for s in with_draft]

    def histogram(self, *, drafted_only: bool = True) -> list[int]:
        counts = Counter(s.accepted for s in self.steps if s.drafted or not drafted_only)
        return [counts[j] for j in range(GAMMA + 1)]


def whole(drafted: int, accepted: int) -> Truth:
    return Truth(drafted, accepted, accepted + 1)


def steps_of(*, lengths: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[Truth, ...]]:
    """Steps of drawn draft lengths (0: no draft), the last perhaps cut by an end or the limit."""
    one = lengths.flatmap(lambda d: st.integers(0, d).map(lambda a: whole(d, a)))
    many = st.lists(one, max_size=8).map(tuple)
    return many.flatmap(
        lambda steps: (
            st.integers(1, steps[-1].emitted).map(
                lambda n: (*steps[:-1], replace(steps[-1], emitted=n))
            )
            if steps
            else st.just(steps)
        )
    )


def merged(steps: tuple[Truth, ...]) -> st.SearchStrategy[Drawn]:
    """A client that lags: each chunk holds what had gathered when it looked."""

    def cut_up(breaks: set[int]) -> Drawn:
        edges = [0, *sorted(breaks), len(steps) + 1]
        return Drawn(steps, tuple(b - a for a, b in itertools.pairwise(edges)))

    return st.sets(st.integers(1, len(steps)) if steps else st.nothing()).map(cut_up)


def alone(steps: tuple[Truth, ...]) -> Drawn:
    return Drawn(steps, (1,) * (len(steps) + 1))


def uncut(steps: tuple[Truth, ...]) -> tuple[Truth, ...]:
    return tuple(whole(step.drafted, step.accepted) for step in steps)


ANY = steps_of(lengths=st.integers(0, GAMMA))
DRAFTED = steps_of(lengths=st.integers(1, GAMMA))
CONSTANT = steps_of(lengths=st.just(GAMMA))
MISSES = steps_of(lengths=st.sampled_from([0, GAMMA]))


def seen(steps: Sequence[Step]) -> list[tuple[int, int | None, int | None]]:
    """Of each step what came out, what was drafted, and what was accepted before the cut."""
    return [(step.emitted, step.drafted, step.accepted) for step in steps]


def true(steps: Sequence[Truth]) -> list[tuple[int, int, int]]:
    return [(s.emitted, s.drafted, min(s.accepted, s.emitted)) for s in steps]


def assert_conserved(found: Evidence, drawn: Drawn) -> None:
    """No token is lost, none is made, and nothing is left unexplained."""
    assert sum(step.emitted for step in found.steps) == drawn.n_tokens
    assert found.check.residual == 0


# --- lists ---------------------------------------------------------------------------------------


@UNHURRIED
@given(ANY)
def test_lists_and_chunks_give_every_step_as_it_was(steps: tuple[Truth, ...]) -> None:
    drawn = alone(steps)
    found = steps_from_lists(drawn.chunks, *drawn.listed)
    # A step that accepted nothing and one without a draft look the same, and may change places.
    assert sorted(seen(found.steps)) == sorted(true(steps))
    assert [step.emitted for step in found.steps] == [step.emitted for step in steps]
    assert [step.ended_ns for step in found.steps] == list(range(1, len(steps) + 1))
    assert found.check.merged == found.check.residual == 0
    assert found.check.undrafted == sum(not step.drafted for step in steps)
    assert found.check.cut == sum(step.cut for step in steps)
    assert found.check.passed


@UNHURRIED
@given(CONSTANT)
def test_verdicts_behind_a_cut_are_not_observed(steps: tuple[Truth, ...]) -> None:
    drawn = alone(steps)
    found = steps_from_lists(drawn.chunks, *drawn.listed).steps
    assert [step.truncated for step in found] == [step.cut for step in steps]
    for step, truth in zip(found, steps, strict=True):
        assert step.observed == (truth.emitted if truth.cut else truth.drafted)


@UNHURRIED
@given(DRAFTED.flatmap(merged) | ANY.map(uncut).flatmap(merged))
def test_lists_give_every_step_whatever_the_chunks_are(drawn: Drawn) -> None:
    """Without a cut, or where every step had a draft, tokens leave no choice."""
    found = steps_from_lists(drawn.chunks, *drawn.listed)
    assert sorted(seen(found.steps)) == sorted(true(drawn.steps))
    assert_conserved(found, drawn)
    assert found.check.merged == len(drawn.steps) + 1 - len(drawn.shares)
    if found.check.merged:
        assert not found.check.passed


@UNHURRIED
@given(ANY.flatmap(merged))
def test_a_cut_and_steps_without_a_draft_in_merged_chunks_hide_each_other(drawn: Drawn) -> None:
    """What a cut took and what steps without a draft gave is known only as a difference."""
    found = steps_from_lists(drawn.chunks, *drawn.listed)
    assert_conserved(found, drawn)
    assert sum(s.drafted or 0 for s in found.steps) == sum(s.drafted for s in drawn.steps)
    assert 0 <= len(drawn.steps) - len(found.steps) <= drawn.hidden


@UNHURRIED
@given(MISSES.flatmap(merged))
def test_a_histogram_leaves_a_cut_and_steps_without_a_draft_as_a_difference_too(
    drawn: Drawn,
) -> None:
    found = steps_from_histogram(drawn.chunks, drawn.histogram(), GAMMA)
    assert_conserved(found, drawn)
    assert 0 <= len(drawn.steps) - len(found.steps) <= drawn.hidden


# --- wrong lists ---------------------------------------------------------------------------------


@UNHURRIED
@given(CONSTANT, st.data())
def test_a_wrong_accepted_count_is_noticed_where_it_can_be(
    steps: tuple[Truth, ...], data: st.DataObject
) -> None:
    """One step's accepted count is changed, and the chunks are as they were.

    With a draft in every step the tokens decide it: the sum no longer fits.  Not noticed can be
    what no client could notice: a count of the last step that is too high (it looks like a cut), or
    one that makes the surplus fit a cut of the last step.
    """
    assume(steps)
    drawn = alone(steps)
    drafted, accepted = drawn.listed
    where = data.draw(st.integers(0, len(accepted) - 1))
    accepted[where] = data.draw(st.integers(0, GAMMA).filter(lambda a: a != accepted[where]))
    surplus = sum(accepted) + len(accepted) - drawn.n_tokens
    like_a_cut = 0 <= surplus <= accepted[-1]
    found = steps_from_lists(drawn.chunks, drafted, accepted)
    if not like_a_cut:
        assert found.check.residual > 0 or found.check.undrafted > 0 or found.check.merged > 0
        assert not (found.check.passed and found.check.undrafted == 0)


@UNHURRIED
@given(CONSTANT)
def test_accepting_more_than_was_drafted_is_refused(steps: tuple[Truth, ...]) -> None:
    assume(steps)
    drafted, accepted = alone(steps).listed
    accepted[-1] = GAMMA + 1
    with pytest.raises(StreamError, match=f"accepted {GAMMA + 1} of {GAMMA} drafted"):
        steps_from_lists(alone(steps).chunks, drafted, accepted)


# --- histograms ----------------------------------------------------------------------------------


@UNHURRIED
@given(MISSES)
def test_a_histogram_and_chunks_give_every_step(steps: tuple[Truth, ...]) -> None:
    drawn = alone(steps)
    found = steps_from_histogram(drawn.chunks, drawn.histogram(), GAMMA)
    assert sorted(seen(found.steps)) == sorted(true(steps))
    assert [step.emitted for step in found.steps] == [step.emitted for step in steps]
    assert [step.ended_ns for step in found.steps] == list(range(1, len(steps) + 1))
    assert found.check.passed
    assert found.check.cut == sum(step.cut for step in steps)


@UNHURRIED
@given(CONSTANT.flatmap(merged) | MISSES.map(uncut).flatmap(merged))
def test_a_histogram_counts_right_whatever_the_chunks_are(drawn: Drawn) -> None:
    found = steps_from_histogram(drawn.chunks, drawn.histogram(), GAMMA)
    assert_conserved(found, drawn)
    assert len(found.steps) == len(drawn.steps)
    assert found.check.merged == len(drawn.steps) + 1 - len(drawn.shares)
    assert sum(s.accepted or 0 for s in found.steps) == sum(
        min(s.accepted, s.emitted) for s in drawn.steps
    )
    if drawn.joined:
        assert all(step.ended_ns is None for step in found.steps)


@UNHURRIED
@given(CONSTANT, st.integers(0, GAMMA), st.integers(0, GAMMA))
def test_a_wrong_histogram_of_all_steps_is_noticed_unless_it_looks_like_a_cut(
    steps: tuple[Truth, ...], source: int, target: int
) -> None:
    """One step is counted under another number of accepted drafts."""
    drawn = alone(steps)
    histogram = drawn.histogram(drafted_only=False)
    assume(histogram[source])
    assume(source != target)
    histogram[source] -= 1
    histogram[target] += 1
    longest = max(j for j in range(GAMMA + 1) if histogram[j])
    surplus = sum((j + 1) * n for j, n in enumerate(histogram)) - drawn.n_tokens
    check = steps_from_histogram(drawn.chunks, histogram, GAMMA, all_steps=True).check
    if not 0 <= surplus <= longest:
        assert check.residual == abs(surplus)
    elif not any(step.cut for step in steps):
        assert check.residual or check.cut


def test_chunks_above_a_histogram_of_all_steps_are_no_steps_without_a_draft() -> None:
    chunks = [Chunk(at_ns=t, n_tokens=1) for t in range(4)]
    missed = steps_from_histogram(chunks, [1, 0], 1)
    assert (missed.check.undrafted, missed.check.residual) == (2, 0)
    told = steps_from_histogram(chunks, [1, 0], 1, all_steps=True)
    assert (told.check.undrafted, told.check.residual) == (0, 2)


@UNHURRIED
@given(CONSTANT)
def test_an_unknown_draft_length_leaves_acceptance_unknown(steps: tuple[Truth, ...]) -> None:
    drawn = alone(steps)
    found = steps_from_histogram(drawn.chunks, drawn.histogram(), None)
    assert [(step.emitted, step.drafted, step.accepted) for step in found.steps] == [
        (step.emitted, None, None) for step in steps
    ]


# --- counts --------------------------------------------------------------------------------------


@UNHURRIED
@given(ANY)
def test_a_count_and_chunks_give_what_each_step_emitted(steps: tuple[Truth, ...]) -> None:
    drawn = alone(steps)
    found = steps_from_count(drawn.chunks, len(steps), None)
    assert [step.emitted for step in found.steps] == [step.emitted for step in steps]
    assert found.check.passed


@UNHURRIED
@given(CONSTANT)
def test_with_a_draft_length_the_last_step_is_censored_at_its_last_token(
    steps: tuple[Truth, ...],
) -> None:
    found = steps_from_count(alone(steps).chunks, len(steps), GAMMA).steps
    assert [step.accepted for step in found] == [step.emitted - 1 for step in steps]
    assert [step.truncated for step in found[:-1]] == [False] * (len(steps) - 1 if steps else 0)
    for step, truth in zip(found[-1:], steps[-1:], strict=True):
        full = truth.emitted == GAMMA + 1
        assert (step.truncated, step.observed) == (not full, GAMMA if full else truth.emitted - 1)


@UNHURRIED
@given(ANY.flatmap(merged))
def test_a_count_beside_merged_chunks_gives_no_step(drawn: Drawn) -> None:
    found = steps_from_count(drawn.chunks, len(drawn.steps), GAMMA)
    merged_steps = len(drawn.steps) + 1 - len(drawn.shares)
    assert (found.check.merged, found.check.residual) == (merged_steps, 0)
    assert bool(found.steps) == bool(drawn.steps and not drawn.joined)


@pytest.mark.parametrize(
    ("n_chunks", "n_steps", "residual"), [(4, 2, 1), (3, 2, 0), (2, 2, 0), (6, 1, 4)]
)
def test_more_chunks_than_steps_are_left_unexplained(
    n_chunks: int, n_steps: int, residual: int
) -> None:
    chunks = [Chunk(at_ns=t, n_tokens=1) for t in range(n_chunks)]
    assert steps_from_count(chunks, n_steps, 3).check.residual == residual


def test_a_chunk_longer_than_a_draft_is_no_step() -> None:
    chunks = [Chunk(at_ns=t, n_tokens=n) for t, n in enumerate((1, 5, 1))]
    found = steps_from_count(chunks, 2, 3)
    assert found.steps == ()
    assert found.check.residual == 1
    with pytest.raises(StreamError, match="accepted 4 of 3 drafted"):
        steps_from_histogram(chunks, [1, 0, 0, 0, 1], 3)


# --- beginnings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_first", [0, 1])
@pytest.mark.parametrize(
    "told",
    [
        lambda chunks: steps_from_lists(chunks, [], []),
        lambda chunks: steps_from_histogram(chunks, [0, 0], 1),
        lambda chunks: steps_from_histogram(chunks, [], None, all_steps=True),
        lambda chunks: steps_from_count(chunks, 0, 3),
    ],
)
def test_an_answer_that_ended_with_the_prefill_has_no_step(
    told: Callable[[list[Chunk]], Evidence], n_first: int
) -> None:
    chunks = [Chunk(at_ns=7, n_tokens=1)][:n_first]
    found = told(chunks)
    assert found.steps == ()
    assert found.check.passed
    assert found.check.chunks == found.check.steps == 0


def test_chunks_without_tokens_are_passed_over() -> None:
    chunks = [Chunk(at_ns=t, n_tokens=n) for t, n in enumerate((0, 1, 0, 3, 0))]
    (step,) = steps_from_lists(chunks, [4], [2]).steps
    assert (step.ended_ns, step.emitted, step.accepted) == (3, 3, 2)
