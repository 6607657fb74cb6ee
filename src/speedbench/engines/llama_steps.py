"""Steps of llama.cpp's server: tokens that share a time, and counts that grow between them.

`engines.llama_cpp` says where these facts come from.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from speedbench.engines.evidence import counted_step
from speedbench.engines.openai import Count
from speedbench.errors import StreamError
from speedbench.records import ChunkCheck, Counts, Step


class Timings(msgspec.Struct, frozen=True):
    """What the server counts in a request, so far."""

    predicted_n: Count = 0
    predicted_ms: float = 0.0
    draft_n: Count = 0
    draft_n_accepted: Count = 0
    prompt_n: Count = 0
    cache_n: Count = 0

    @property
    def n_input(self) -> int:
        """Input tokens, read or found in the cache; 0 only where nothing was told."""
        return self.prompt_n + self.cache_n


class Token(msgspec.Struct, frozen=True):
    """An event that shows a token: how many there are since the one before, and the counts."""

    at_ns: int
    new: int
    timings: Timings


class Group(msgspec.Struct, frozen=True):
    """What shares a time: a step's tokens, and those `held` back until the first was shown."""

    at_ns: int
    emitted: int
    held: int
    drafted: int
    accepted: int


def groups_of(tokens: Sequence[Token]) -> list[Group]:
    """Return the tokens by the time at which they were decoded, with the growth of the counts."""
    groups: list[Group] = []
    before = Timings()
    for _, run in itertools.groupby(tokens, key=lambda token: token.timings.predicted_ms):
        first, *others = run
        last = others[-1] if others else first
        groups.append(
            Group(
                at_ns=last.at_ns,
                emitted=first.new + sum(token.new for token in others),
                held=first.new - 1,
                drafted=last.timings.draft_n - before.draft_n,
                accepted=last.timings.draft_n_accepted - before.draft_n_accepted,
            )
        )
        before = last.timings
    return groups


def counts_of(last: Timings, steps: Sequence[Step]) -> Counts:
    """Return the engine's totals; it does not say how many steps had a draft, which we count."""
    known = all(step.drafted is not None for step in steps)
    return Counts(
        drafts=sum(bool(step.drafted) for step in steps) if known else None,
        drafted=last.draft_n,
        accepted=last.draft_n_accepted,
        steps=len(steps),
    )


def after_prefill(groups: Sequence[Group]) -> list[Group]:
    """Return the groups without the prefill's token, held tokens given to the step short of them.

    Tokens held at the end of a step are shown with the next one.
    """
    if not groups:
        return []
    head, *decode = groups
    if head.emitted > 1:
        if not head.held:
            raise StreamError("bad_counts", f"the prefill gave {head.emitted} tokens, not one")
        rest = msgspec.structs.replace(head, emitted=head.emitted - 1, held=head.held - 1)
        decode = [rest, *decode]
    for i in range(1, len(decode)):
        before, group = decode[i - 1], decode[i]
        short = before.accepted + 1 - before.emitted
        if 0 < short <= group.held:
            decode[i - 1] = msgspec.structs.replace(before, emitted=before.emitted + short)
            decode[i] = msgspec.structs.replace(
                group, emitted=group.emitted - short, held=group.held - short
            )
    return decode


def steps_of(group: Group, *, ends_answer: bool) -> list[Step]:
    """Return the steps of a group, almost always one: accepted drafts and one token more.

    Each further token is a further step.  One whose token was held back is told by nothing else:
    where the group has a draft, it is not known whose it was.
    """
    emitted, drafted, accepted = group.emitted, group.drafted, group.accepted
    further = emitted - accepted - 1
    possible = further >= 0 or (ends_answer and emitted)  # fewer tokens: the end cut them off
    if not 0 <= accepted <= drafted or not possible:
        raise StreamError(
            "bad_counts", f"a step gave {emitted} tokens, having accepted {accepted} of {drafted}"
        )
    if further <= 0:
        return [counted_step(group.at_ns, emitted, drafted, accepted)]
    if further == 1 and not group.held and accepted < drafted:  # read again from a checkpoint
        first = counted_step(None, accepted + 1, drafted, accepted)
        return [first, Step(ended_ns=group.at_ns, emitted=1, drafted=0, accepted=0)]
    if further > group.held:
        raise StreamError(
            "bad_counts", f"a step gave {emitted} tokens, having accepted {accepted} drafts"
        )
    known = None if drafted else 0
    hidden = Step(ended_ns=None, emitted=1, drafted=known, accepted=known)
    shown = Step(ended_ns=group.at_ns, emitted=accepted + 1, drafted=known, accepted=known)
    return [hidden] * further + [shown]


def check_of(groups: Sequence[Group], decode: Sequence[Group], steps: Sequence[Step]) -> ChunkCheck:
    """Compare tokens that share a time with the counts: as many as were accepted, and one.

    A chunk is a token here, so `chunks` are such groups.  What differs without a cause is an error,
    so the residual is 0; steps without a time of their own are `merged`.
    """
    return ChunkCheck(
        chunks=max(0, len(groups) - 1),
        steps=sum(step.drafted != 0 for step in steps),
        undrafted=sum(step.drafted == 0 for step in steps),
        cut=sum(step.truncated for step in steps),
        merged=len(steps) - max(0, len(groups) - 1),
    )
