"""From what an engine counted, and the chunks that arrived, to decode steps.

A chunk is a step only where the engine's own counts say so.  Both accounts are held against each
other here, every difference is given a cause, and what has none is the residual, which must be 0.

Every function takes all chunks of an answer.  The prefill emits one token, the first, which belongs
to no step; where a step's tokens came in the same chunk, that chunk is a merged one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from speedbench.errors import StreamError
from speedbench.records import Chunk, ChunkCheck, Step


class Evidence(NamedTuple):
    """The decode steps of a request, and how they compare with its chunks."""

    steps: tuple[Step, ...]
    check: ChunkCheck


class _Pieces(NamedTuple):
    """Tokens per chunk in decode, the stamp that is theirs alone, and steps merged with prefill."""

    lengths: list[int]
    stamps: list[int | None]
    merged: int

    @property
    def n_tokens(self) -> int:
        return sum(self.lengths)


def _pieces(chunks: Sequence[Chunk]) -> _Pieces:
    pieces = [(chunk.n_tokens, chunk.at_ns) for chunk in chunks if chunk.n_tokens]
    if not pieces:
        return _Pieces([], [], 0)
    (n_first, _), *rest = pieces
    lengths = [n for n, _ in rest]
    stamps: list[int | None] = [at_ns for _, at_ns in rest]
    if n_first == 1:
        return _Pieces(lengths, stamps, 0)
    return _Pieces([n_first - 1, *lengths], [None, *stamps], 1)


def steps_from_lists(
    chunks: Sequence[Chunk], drafted: Sequence[int], accepted: Sequence[int]
) -> Evidence:
    """Return the steps of an engine that lists every step that had a draft, in order (tier A).

    Steps without a draft are in no list; each is a chunk of one token, and is put where the chunks
    have it.  A chunk of one token beside a step that accepted nothing may be either of the two: the
    earliest reading that fits is taken, which moves no count.

    Parameters
    ----------
    chunks
        All chunks with their token counts, the prefill's first.
    drafted, accepted
        Per step with a draft, before any cut.

    Raises
    ------
    StreamError
        When the lists cannot be: unequal, or more accepted than drafted.

    Examples
    --------
    >>> chunks = [Chunk(at_ns=t, n_tokens=n) for t, n in [(0, 1), (1, 3), (2, 1), (3, 2)]]
    >>> found = steps_from_lists(chunks, drafted=[3, 3], accepted=[2, 3])
    >>> [(step.emitted, step.drafted, step.accepted) for step in found.steps]
    [(3, 3, 2), (1, 0, 0), (2, 3, 2)]
    >>> found.check
    ChunkCheck(chunks=3, steps=2, undrafted=1, cut=1, merged=0, residual=0)
    """
    if len(drafted) != len(accepted):
        raise StreamError("bad_counts", f"{len(drafted)} steps drafted, {len(accepted)} accepted")
    for number, (d, a) in enumerate(zip(drafted, accepted, strict=True)):
        if a > d:
            raise StreamError("bad_counts", f"step {number}: accepted {a} of {d} drafted")
    pieces = _pieces(chunks)
    return _joined(pieces, drafted, accepted) or _listed(pieces, drafted, accepted)


def _joined(pieces: _Pieces, drafted: Sequence[int], accepted: Sequence[int]) -> Evidence | None:
    """Give every chunk its step; None where they do not line up.

    Taking the earliest listed step that fits is enough: every longer chunk must be a listed step,
    and a chunk of one token that is left unlisted too late only leaves fewer for the steps behind.
    """
    steps: list[Step] = []
    listed = cut = 0
    for number, (n, at_ns) in enumerate(zip(pieces.lengths, pieces.stamps, strict=True)):
        left = len(drafted) - listed
        whole = accepted[listed] + 1 if left else 0
        may_be_cut = left == 1 and number == len(pieces.lengths) - 1
        if left and (n == whole or (may_be_cut and n < whole)):
            steps.append(counted_step(at_ns, n, drafted[listed], accepted[listed]))
            cut += n < whole
            listed += 1
        elif n == 1:
            steps.append(_undrafted(at_ns))
        else:
            return None
    if listed < len(drafted):
        return None
    check = ChunkCheck(
        chunks=len(steps),
        steps=listed,
        undrafted=len(steps) - listed,
        cut=cut,
        merged=pieces.merged,
    )
    return Evidence(tuple(steps), check)


def _listed(pieces: _Pieces, drafted: Sequence[int], accepted: Sequence[int]) -> Evidence:
    """Take the engine's list as it is: chunks hold several steps, and stamps belong to none.

    Tokens that the listed steps do not account for came from steps without a draft.
    """
    whole = [a + 1 for a in accepted]
    surplus = sum(whole) - pieces.n_tokens
    fitting = _smallest_cut(pieces.lengths, whole)
    cut = max(0, surplus) if fitting is None else fitting
    undrafted = cut - surplus
    steps = [counted_step(None, n, d, a) for n, d, a in zip(whole, drafted, accepted, strict=True)]
    if fitting:
        steps[-1] = counted_step(None, whole[-1] - cut, drafted[-1], accepted[-1])
    steps += [_undrafted(None)] * undrafted
    check = ChunkCheck(
        chunks=len(pieces.lengths),
        steps=len(drafted),
        undrafted=undrafted,
        cut=int(cut > 0),
        merged=_merged(pieces, len(steps)),
        residual=_unexplained(pieces, len(steps), max(1, surplus) if fitting is None else 0),
    )
    return Evidence(tuple(steps), check)


def _smallest_cut(lengths: Sequence[int], whole: Sequence[int]) -> int | None:
    """Return how many tokens the last listed step lost, so that chunks can hold what is listed.

    Steps without a draft fill whatever is left of a chunk.  Where a cut and such steps make up for
    each other the smallest is taken; None where none fits.
    """
    last = whole[-1] if whole else 1
    for cut in range(max(0, sum(whole) - sum(lengths)), last):
        room, listed = list(lengths), list(whole)
        if cut:  # then it is the last of all, in the last chunk
            room[-1:] = [n - (last - cut) for n in room[-1:]]
            listed.pop()
        if room and room[-1] < 0:
            continue
        for n in room:
            while listed and listed[0] <= n:
                n -= listed.pop(0)
        if not listed and (room or not cut):
            return cut
    return None


def steps_from_histogram(
    chunks: Sequence[Chunk],
    histogram: Sequence[int],
    draft_length: int | None,
    *,
    all_steps: bool = False,
) -> Evidence:
    """Return the steps of an engine that gives a histogram of accepted drafts (tier B or C).

    Where the chunks are the steps - as many, none longer than the draft and one token, and the
    lengths the same but for a last step that was cut - the steps are those chunks, in order
    (`ChunkCheck.passed`: tier C).  Chunks of one token above those in the histogram are steps that
    had no draft; which of them cannot be told, the last are taken.  Otherwise the steps are the
    histogram's, without order or stamp.

    Parameters
    ----------
    chunks
        All chunks with their token counts, the prefill's first.
    histogram
        Entry ``j`` counts the steps that accepted ``j`` drafts, before any cut.
    draft_length
        How many tokens every step drafted; None where that is not constant or not known.
    all_steps
        Whether the engine counts every decode step there, so that none was without a draft.

    Raises
    ------
    StreamError
        When the histogram cannot be: more accepted than drafted, or more steps than tokens.

    Examples
    --------
    >>> chunks = [Chunk(at_ns=t, n_tokens=n) for t, n in [(0, 1), (1, 3), (2, 1), (3, 2)]]
    >>> found = steps_from_histogram(chunks, [1, 0, 2, 0], 3)
    >>> found.check.passed, found.check.cut, [step.accepted for step in found.steps]
    (True, 1, [2, 0, 2])
    >>> merged = [Chunk(at_ns=0, n_tokens=1), Chunk(at_ns=1, n_tokens=4)]
    >>> steps_from_histogram(merged, [0, 2], 1).check
    ChunkCheck(chunks=1, steps=2, undrafted=0, cut=0, merged=1, residual=0)
    """
    most = max((j for j, n in enumerate(histogram) if n), default=0)
    if draft_length is not None and most > draft_length:
        raise StreamError("bad_counts", f"a step accepted {most} of {draft_length} drafted")
    pieces = _pieces(chunks)
    lengths = pieces.lengths
    if sum(histogram) > pieces.n_tokens:
        raise StreamError("bad_counts", f"{sum(histogram)} steps gave {pieces.n_tokens} tokens")
    wanted = Counter({j + 1: n for j, n in enumerate(histogram) if n})
    missing, surplus = wanted - Counter(lengths), Counter(lengths) - wanted
    last_whole = lengths[-1] if lengths else 0
    cut = missing.total() == 1 and surplus[last_whole] > 0 and last_whole < min(missing)
    if cut:
        surplus[last_whole] -= 1
        last_whole, missing = min(missing), Counter()
    undrafted = 0 if all_steps else surplus.pop(1, 0)
    fits = draft_length is None or all(n <= draft_length + 1 for n in lengths)
    if missing.total() or surplus.total() or not fits:
        return _from_histogram(pieces, histogram, draft_length, all_steps=all_steps)
    ones = [i for i, n in enumerate(lengths[:-1] if cut else lengths) if n == 1]
    without_draft = set(ones[len(ones) - undrafted :])
    wholes = [*lengths[:-1], last_whole][: len(lengths)]
    steps = [
        _undrafted(at_ns) if i in without_draft else counted_step(at_ns, n, draft_length, whole - 1)
        for i, (at_ns, n, whole) in enumerate(zip(pieces.stamps, lengths, wholes, strict=True))
    ]
    check = ChunkCheck(
        chunks=len(lengths),
        steps=wanted.total(),
        undrafted=undrafted,
        cut=int(cut),
        merged=pieces.merged,
    )
    return Evidence(tuple(steps), check)


def _from_histogram(
    pieces: _Pieces, histogram: Sequence[int], draft_length: int | None, *, all_steps: bool
) -> Evidence:
    """Return the histogram's steps; where a cut is, the longest step is taken to have been cut.

    Which one it was is not known, and it moves no figure but the rates at the positions cut away.
    Tokens that these steps do not account for came from steps without a draft; where a cut took as
    many tokens as such steps gave, neither is seen in the sum, but the chunks are too many.
    """
    accepted = [j for j, n in enumerate(histogram) for _ in range(n)]
    longest = accepted[-1] if accepted else 0
    surplus = sum(accepted) + len(accepted) - pieces.n_tokens
    cut, undrafted = max(0, surplus), max(0, -surplus)
    possible = cut <= longest and not (all_steps and undrafted)
    if possible and not all_steps:  # as many hidden as chunks of several steps need, at least
        spare = len(pieces.lengths) - len(accepted) - undrafted + 1 - pieces.merged
        hidden = spare if 0 < spare <= longest - cut else 0
        cut, undrafted = cut + hidden, undrafted + hidden
    steps = [counted_step(None, a + 1, draft_length, a) for a in accepted]
    if cut and possible:
        steps[-1] = counted_step(None, longest + 1 - cut, draft_length, longest)
    if possible:
        steps += [_undrafted(None)] * undrafted
    check = ChunkCheck(
        chunks=len(pieces.lengths),
        steps=len(accepted),
        undrafted=undrafted if possible else 0,
        cut=int(cut > 0),
        merged=_merged(pieces, len(steps)),
        residual=_unexplained(pieces, len(steps), 0 if possible else abs(surplus)),
    )
    return Evidence(tuple(steps), check)


def steps_from_count(chunks: Sequence[Chunk], n_steps: int, draft_length: int | None) -> Evidence:
    """Return the steps of an engine that tells only how many there were (tier C, if it passes).

    The chunks are the steps where there are as many and none is longer than the draft and one
    token.  The last step is ambiguous then and censored at its last token.  Where the chunks are
    not the steps, no step is known, only how many there were.

    Parameters
    ----------
    chunks
        All chunks with their token counts, the prefill's first.
    n_steps
        Decode steps, by the engine's count.
    draft_length
        How many tokens every step drafted; None where that is not constant or not known.

    Examples
    --------
    >>> chunks = [Chunk(at_ns=t, n_tokens=n) for t, n in [(0, 1), (1, 4), (2, 2)]]
    >>> found = steps_from_count(chunks, 2, 3)
    >>> [(step.accepted, step.observed) for step in found.steps]
    [(3, 3), (1, 1)]
    >>> steps_from_count(chunks, 4, 3).check.merged
    2
    """
    pieces = _pieces(chunks)
    lengths = pieces.lengths
    longest = max(lengths, default=0)
    fits = draft_length is None or longest <= draft_length + 1
    if len(lengths) != n_steps or not fits:
        check = ChunkCheck(
            chunks=len(lengths),
            steps=n_steps,
            merged=_merged(pieces, n_steps),
            residual=_unexplained(pieces, n_steps, 0),
        )
        return Evidence((), check)
    steps = [
        counted_step(at_ns, n, draft_length, n - 1)
        for at_ns, n in zip(pieces.stamps, lengths, strict=True)
    ]
    if steps and draft_length is not None and lengths[-1] <= draft_length:
        steps[-1] = msgspec.structs.replace(steps[-1], observed=lengths[-1] - 1, truncated=True)
    check = ChunkCheck(chunks=len(lengths), steps=n_steps, merged=pieces.merged)
    return Evidence(tuple(steps), check)


def counted_step(at_ns: int | None, emitted: int, drafted: int | None, accepted: int) -> Step:
    """Return a step whose counts precede the cut that its emitted tokens show.

    Verdicts behind the cut are not observed: they judge a text that was never written.

    >>> step = counted_step(5, emitted=2, drafted=4, accepted=3)  # the second token ended it all
    >>> step.accepted, step.observed, step.truncated
    (2, 2, True)
    """
    cut = emitted <= accepted
    known = drafted is not None
    return Step(
        ended_ns=at_ns,
        emitted=emitted,
        drafted=drafted,
        accepted=min(accepted, emitted) if known else None,
        observed=(emitted if cut else drafted) if known else None,
        truncated=cut,
    )


def _undrafted(at_ns: int | None) -> Step:
    return Step(ended_ns=at_ns, emitted=1, drafted=0, accepted=0)


def _merged(pieces: _Pieces, n_steps: int) -> int:
    """Return how many steps share a chunk with another, or with the prefill."""
    return max(0, n_steps - len(pieces.lengths)) + pieces.merged


def _unexplained(pieces: _Pieces, n_steps: int, impossible: int) -> int:
    """Return what no cause explains: tokens of an impossible cut, or chunks beside too few steps.

    As many chunks as steps that yet do not line up count as one.
    """
    if impossible:
        return impossible
    return max(0, len(pieces.lengths) - n_steps) or int(not _merged(pieces, n_steps))
