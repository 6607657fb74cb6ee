"""Steps from a histogram of accepted drafts, or from their number alone (tiers B and C)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from speedbench.engines.evidence._pieces import (
    Evidence,
    Pieces,
    counted_step,
    merged_steps,
    pieces_of,
    undrafted_step,
    unexplained,
)
from speedbench.errors import StreamError
from speedbench.records import Chunk, ChunkCheck


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
    pieces = pieces_of(chunks)
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
        undrafted_step(at_ns)
        if i in without_draft
        else counted_step(at_ns, n, draft_length, whole - 1)
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
    pieces: Pieces, histogram: Sequence[int], draft_length: int | None, *, all_steps: bool
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
        steps += [undrafted_step(None)] * undrafted
    check = ChunkCheck(
        chunks=len(pieces.lengths),
        steps=len(accepted),
        undrafted=undrafted if possible else 0,
        cut=int(cut > 0),
        merged=merged_steps(pieces, len(steps)),
        residual=unexplained(pieces, len(steps), 0 if possible else abs(surplus)),
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
    pieces = pieces_of(chunks)
    lengths = pieces.lengths
    longest = max(lengths, default=0)
    fits = draft_length is None or longest <= draft_length + 1
    if len(lengths) != n_steps or not fits:
        check = ChunkCheck(
            chunks=len(lengths),
            steps=n_steps,
            merged=merged_steps(pieces, n_steps),
            residual=unexplained(pieces, n_steps, 0),
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
