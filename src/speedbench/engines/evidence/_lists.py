"""Steps from ordered lists of the steps that had a draft (tier A)."""

from __future__ import annotations

from collections.abc import Sequence

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
from speedbench.records import Chunk, ChunkCheck, Step


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
    pieces = pieces_of(chunks)
    return _joined(pieces, drafted, accepted) or _listed(pieces, drafted, accepted)


def _joined(pieces: Pieces, drafted: Sequence[int], accepted: Sequence[int]) -> Evidence | None:
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
            steps.append(undrafted_step(at_ns))
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


def _listed(pieces: Pieces, drafted: Sequence[int], accepted: Sequence[int]) -> Evidence:
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
    steps += [undrafted_step(None)] * undrafted
    check = ChunkCheck(
        chunks=len(pieces.lengths),
        steps=len(drafted),
        undrafted=undrafted,
        cut=int(cut > 0),
        merged=merged_steps(pieces, len(steps)),
        residual=unexplained(pieces, len(steps), max(1, surplus) if fitting is None else 0),
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
