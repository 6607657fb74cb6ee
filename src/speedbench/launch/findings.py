"""What a few answers say about a server: pure, answers in, sentences out.

Every check gives one finding: `PASS`, `CAUTION` (measure, and know it), `FAIL` (what would be
measured is not what was asked for) or `UNKNOWN`, which is no pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from speedbench.engines import About
from speedbench.launch.answers import (
    COLLAPSED,
    MATTERS,
    compared,
    content,
    counts_of,
    equal_answers_differ,
    first_difference,
)
from speedbench.records import Request, Response

Verdict = Literal["pass", "caution", "fail", "cannot tell"]
PASS: Verdict = "pass"
CAUTION: Verdict = "caution"
FAIL: Verdict = "fail"
UNKNOWN: Verdict = "cannot tell"

CONSTANT_METHODS = ("draft_model", "eagle", "eagle3", "mtp", "medusa")
"""Methods that draft their full length in every step, or nearly; others draft when they can."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found out about a server."""

    check: str
    verdict: Verdict
    sentence: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the server was said to do; `method` is ``as_served`` where nothing was said."""

    method: str
    draft_length: int | None
    temperature: float
    max_tokens: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to the same prompts, asked in several ways.

    `alone` are those asked one after another at temperature 0, `again` the first of them asked once
    more, `together` all of them at once, and `sampled` all of them at the run's own temperature
    (empty where that is 0).  `cached_tokens` of the repeated inputs came from the prefix cache, by
    the server's counters; None where it has none.
    """

    requests: tuple[Request, ...]
    alone: tuple[Response, ...]
    again: tuple[Response, ...]
    together: tuple[Response, ...]
    sampled: tuple[Response, ...] = ()
    cached_tokens: int | None = None
    n_together: int = 4


def findings(said: Said, about: About, asked: Asked) -> list[Finding]:
    """Return everything that the answers tell."""
    found = [
        _version(about),
        _speculates(said, about, asked),
        _draft_length(said, asked),
        _greedy(asked),
        _limit(said, asked),
        _prefix_cache(asked),
        _stream_interval(asked),
        _concurrency(said, asked),
    ]
    if asked.sampled:
        found.append(_temperature(said, asked))
    return found


def no_evidence(said: Said) -> Finding:
    """Return what can be said of an engine that tells nothing about speculation: nothing.

    >>> said = Said(method="eagle3", draft_length=3, temperature=0.0, max_tokens=8)
    >>> no_evidence(said).verdict
    'cannot tell'
    """
    claim = "" if said.method == "as_served" else f" (said to be {said.method})"
    sentence = (
        f"this engine tells nothing about it{claim}: a server that silently does not speculate "
        "cannot be told from one that does; name the engine with --engine if it is one of those "
        "that tell"
    )
    return Finding(check="speculation", verdict=UNKNOWN, sentence=sentence)


def _version(about: About) -> Finding:
    if about.version is None:
        sentence = "the server does not say which version it is: write it down yourself"
        return Finding(check="version", verdict=UNKNOWN, sentence=sentence)
    return Finding(check="version", verdict=PASS, sentence=f"{about.engine} {about.version}")


def _speculates(said: Said, about: About, asked: Asked) -> Finding:
    check = "speculation"
    counts = [counts_of(response) for response in asked.alone]
    if any(count.drafted is None for count in counts):
        steps = sum(len(response.steps) for response in asked.alone)
        if steps:
            tokens = sum(step.emitted for r in asked.alone for step in r.steps)
            sentence = (
                f"{tokens} tokens in {steps} decode steps, "
                f"{'more' if tokens > steps else 'not more'} than one each"
            )
            verdict = PASS if (tokens > steps) != (said.method == "none") else FAIL
            return Finding(check=check, verdict=verdict, sentence=sentence)
        sentence = (
            "the answers tell nothing about speculation, so a server that silently does not "
            "speculate cannot be told from one that does"
        )
        return Finding(check=check, verdict=UNKNOWN, sentence=sentence)
    drafts = sum(count.drafts or 0 for count in counts)
    drafted = sum(count.drafted or 0 for count in counts)
    accepted = sum(count.accepted or 0 for count in counts)
    did = f"{drafted} tokens were drafted in {drafts} steps of {len(counts)} answers"
    if drafted and said.method == "none":
        sentence = f"{did}, though the method was said to be none"
        return Finding(check=check, verdict=FAIL, sentence=sentence)
    if drafted or said.method in ("none", "as_served"):
        sentence = f"{did}, {accepted} of them accepted" if drafted else "it does not speculate"
        return Finding(check=check, verdict=PASS, sentence=sentence)
    if said.method not in CONSTANT_METHODS:
        sentence = f"{did}: {said.method} found nothing to propose, or is off"
        return Finding(check=check, verdict=CAUTION, sentence=sentence)
    configured = "" if about.speculates is None else f" (it says speculates={about.speculates})"
    sentence = f"{did}: the server was said to speculate by {said.method}, and does not{configured}"
    return Finding(check=check, verdict=FAIL, sentence=sentence)


def _draft_length(said: Said, asked: Asked) -> Finding:
    check = "draft length"
    drafted = [step.drafted for r in asked.alone for step in r.steps if step.drafted]
    longest = max(drafted, default=None)
    if longest is None:
        if said.draft_length is None:
            sentence = "none was stated, and none is told"
            return Finding(check=check, verdict=PASS, sentence=sentence)
        sentence = f"said to be {said.draft_length}; the answers do not tell"
        return Finding(check=check, verdict=UNKNOWN, sentence=sentence)
    if said.draft_length is None:
        sentence = f"at most {longest} tokens a step"
        return Finding(check=check, verdict=PASS, sentence=sentence)
    holds = longest == said.draft_length
    if said.method not in CONSTANT_METHODS:
        holds = longest <= said.draft_length
    sentence = f"said to be {said.draft_length}, at most {longest} tokens a step were drafted"
    return Finding(check=check, verdict=PASS if holds else FAIL, sentence=sentence)


def _greedy(asked: Asked) -> Finding:
    check = "temperature 0"
    for request, one, two in zip(asked.requests, asked.alone, asked.again, strict=False):
        if content(one) != content(two):
            place = first_difference(content(one), content(two))
            sentence = (
                f"the same request gave another answer the second time ({request.prompt_id}, from "
                f"token {place}): sampling parameters do not arrive, or kernels differ from run to "
                "run; outputs of methods cannot be compared"
            )
            return Finding(check=check, verdict=CAUTION, sentence=sentence)
    sentence = f"{len(asked.again)} requests asked twice gave the same answers"
    return Finding(check=check, verdict=PASS, sentence=sentence)


def _limit(said: Said, asked: Asked) -> Finding:
    check = "token limit"
    told = [r.n_output_tokens for r in asked.alone if r.n_output_tokens is not None]
    if not told:
        sentence = "the server does not count its tokens"
        return Finding(check=check, verdict=UNKNOWN, sentence=sentence)
    if max(told) > said.max_tokens:
        sentence = (
            f"{said.max_tokens} tokens were allowed and {max(told)} came: sampling parameters do "
            "not arrive"
        )
        return Finding(check=check, verdict=FAIL, sentence=sentence)
    sentence = f"no answer is longer than the {said.max_tokens} tokens allowed"
    return Finding(check=check, verdict=PASS, sentence=sentence)


def _prefix_cache(asked: Asked) -> Finding:
    check = "prefix cache"
    told = [r.n_cached_tokens for r in asked.again if r.n_cached_tokens is not None]
    cached = sum(told) if told else asked.cached_tokens
    if cached is None:
        sentence = "not told: if it is on, a second run over the same prompts is faster"
        return Finding(check=check, verdict=UNKNOWN, sentence=sentence)
    if cached:
        sentence = (
            f"on: {cached} input tokens of repeated requests were not computed again, so a second "
            "run is warmer than the first; switch it off for comparisons of TTFT"
        )
        return Finding(check=check, verdict=CAUTION, sentence=sentence)
    return Finding(check=check, verdict=PASS, sentence="repeated inputs were computed again")


def _stream_interval(asked: Asked) -> Finding:
    check = "chunks"
    checks = [r.chunk_check for r in asked.alone if r.chunk_check is not None]
    if not checks:
        sentence = "no step counts to hold them against: they are not read as steps"
        return Finding(check=check, verdict=UNKNOWN, sentence=sentence)
    unexplained = sum(found.residual for found in checks)
    if unexplained:
        sentence = f"chunks and step counts differ by {unexplained} that no cause explains"
        return Finding(check=check, verdict=FAIL, sentence=sentence)
    if merged := sum(found.merged for found in checks):
        n_chunks = sum(found.chunks for found in checks)
        sentence = (
            f"{merged} steps more than chunks ({n_chunks}): the server holds tokens back (stream "
            "interval above 1) or falls behind; acceptance does not suffer where steps are "
            "counted, every time between tokens does"
        )
        return Finding(check=check, verdict=CAUTION, sentence=sentence)
    sentence = "every chunk is one step, one request at a time"
    return Finding(check=check, verdict=PASS, sentence=sentence)


def _concurrency(said: Said, asked: Asked) -> Finding:
    check = "concurrency"
    loads = f"1 and {asked.n_together} requests at a time"
    pairs = list(zip(asked.alone, asked.together, strict=True))
    same = [pair for pair in pairs if content(pair[0]) == content(pair[1])]
    # The same tokens were drafted for: what differs between them is no chance.
    alike = len(same) * 2 >= len(pairs) > 0
    one, many = zip(*(same if alike else pairs), strict=True) if pairs else ((), ())
    found = compared(one, many)
    if found is None:
        sentence = f"acceptance at {loads} cannot be compared: it is not told"
        return Finding(check=check, verdict=UNKNOWN, sentence=sentence)
    alone, together, differs = found
    if alike:
        differs = equal_answers_differ(one, many)
    shares = f"{alone:.3f} and {together:.3f} of drafted tokens"
    sentence = f"acceptance at temperature 0 is {shares} at {loads}"
    if not differs:
        return Finding(check=check, verdict=PASS, sentence=sentence)
    if alike:
        sentence += f", in {len(same)} answers that are the same token by token"
    if said.method not in CONSTANT_METHODS:
        sentence += ": lookup may know what earlier requests wrote, so their order counts"
        return Finding(check=check, verdict=CAUTION, sentence=sentence)
    sentence += ": it must not depend on load, so the engine's drafting is at fault there"
    return Finding(check=check, verdict=FAIL, sentence=sentence)


def _temperature(said: Said, asked: Asked) -> Finding:
    check = "temperature"
    found = compared(asked.alone, asked.sampled)
    if found is None:
        sentence = "acceptance at the run's temperature cannot be compared: it is not told"
        return Finding(check=check, verdict=UNKNOWN, sentence=sentence)
    greedy, sampled, differs = found
    sentence = (
        f"acceptance is {greedy:.3f} of drafted tokens at temperature 0 and {sampled:.3f} at "
        f"{said.temperature:g}"
    )
    if not differs or sampled >= greedy * (1 - MATTERS):
        return Finding(check=check, verdict=PASS, sentence=sentence)
    if sampled < greedy * COLLAPSED and said.method in CONSTANT_METHODS:
        sentence += ": it collapses, as where sampling parameters are not read right"
        return Finding(check=check, verdict=FAIL, sentence=sentence)
    return Finding(check=check, verdict=CAUTION, sentence=sentence)


def tokenizer_finding(
    ours: Mapping[str, Sequence[int]], theirs: Mapping[str, Sequence[int]]
) -> Finding:
    """Compare the ids of texts by our tokenizer and by the server's.

    >>> tokenizer_finding({"Hello": [1, 2]}, {"Hello": [1, 3]}).verdict
    'fail'
    """
    for text, ids in ours.items():
        place = first_difference(ids, theirs[text])
        if place is not None:
            sentence = (
                f"the server's tokenizer is another: it reads {text[:40]!r} as "
                f"{len(theirs[text])} ids and ours as {len(ids)}, which part at id {place}; give "
                "the served model's own with --tokenizer"
            )
            return Finding(check="tokenizer", verdict=FAIL, sentence=sentence)
    sentence = f"{len(ours)} texts give the same ids here and there"
    return Finding(check="tokenizer", verdict=PASS, sentence=sentence)


def input_finding(requests: Sequence[Request], responses: Sequence[Response]) -> Finding | None:
    """Compare how many ids were sent with how many the server says it read; None for messages.

    A server that puts BOS before ids that have one reads one more.
    """
    for request, response in zip(requests, responses, strict=True):
        if request.input_ids is None or response.n_input_tokens is None:
            return None
        sent, read = len(request.input_ids), response.n_input_tokens
        if sent != read:
            sentence = (
                f"{sent} ids were sent and the server read {read}: it changes the input, for "
                "example by a second BOS"
            )
            return Finding(check="input", verdict=FAIL, sentence=sentence)
    sentence = "the server reads as many ids as were sent"
    return Finding(check="input", verdict=PASS, sentence=sentence)
