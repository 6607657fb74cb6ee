"""What every kind of account shares: the pieces of an answer, and a step from its counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from speedbench.records import Chunk, ChunkCheck, Step


class Evidence(NamedTuple):
    """The decode steps of a request, and how they compare with its chunks."""

    steps: tuple[Step, ...]
    check: ChunkCheck


class Pieces(NamedTuple):
    """Tokens per chunk in decode, the stamp that is theirs alone, and steps merged with prefill."""

    lengths: list[int]
    stamps: list[int | None]
    merged: int

    @property
    def n_tokens(self) -> int:
        return sum(self.lengths)


def pieces_of(chunks: Sequence[Chunk]) -> Pieces:
    """Return the pieces of an answer whose first token is the prefill's."""
    pieces = [(chunk.n_tokens, chunk.at_ns) for chunk in chunks if chunk.n_tokens]
    if not pieces:
        return Pieces([], [], 0)
    (n_first, _), *rest = pieces
    lengths = [n for n, _ in rest]
    stamps: list[int | None] = [at_ns for _, at_ns in rest]
    if n_first == 1:
        return Pieces(lengths, stamps, 0)
    return Pieces([n_first - 1, *lengths], [None, *stamps], 1)


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


def undrafted_step(at_ns: int | None) -> Step:
    """Return a step that had no draft, and so emitted one token."""
    return Step(ended_ns=at_ns, emitted=1, drafted=0, accepted=0)


def merged_steps(pieces: Pieces, n_steps: int) -> int:
    """Return how many steps share a chunk with another, or with the prefill."""
    return max(0, n_steps - len(pieces.lengths)) + pieces.merged


def unexplained(pieces: Pieces, n_steps: int, impossible: int) -> int:
    """Return what no cause explains: tokens of an impossible cut, or chunks beside too few steps.

    As many chunks as steps that yet do not line up count as one.
    """
    if impossible:
        return impossible
    return max(0, len(pieces.lengths) - n_steps) or int(not merged_steps(pieces, n_steps))
