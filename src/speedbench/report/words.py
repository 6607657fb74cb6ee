"""How numbers, names and decisions are put into words, the same on the terminal and on the page."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from speedbench.records import Estimate

NONE = "-"
"""What is printed for an undefined number; never 0."""
FEW = 4
"""So many categories are named one by one; more are counted."""
_JOINERS = "\u200c\u200d"  # spelling in Persian, Hindi and emoji; they reorder nothing


@dataclass(frozen=True)
class Style:
    """How a number of one unit is printed.

    `least` and `most` bound what is possible: an interval is cut there, which costs no coverage.
    Bounds above `beyond` print as ``>beyond``.
    """

    decimals: int = 2
    scale: float = 1.0
    least: float = 0.0
    most: float = math.inf
    beyond: int = 99


STYLES: dict[str, Style] = {
    "ratio": Style(),
    "tokens/step": Style(least=1.0),
    "share": Style(most=1.0),
    "probability": Style(most=1.0),
    "accepted/drafted": Style(most=1.0),
    "target steps": Style(decimals=3),
    "s": Style(scale=1e3, beyond=99_999),  # printed in ms
    "s/token": Style(scale=1e3, beyond=99_999),
    "tokens/s": Style(beyond=9999),
}


def value_text(found: Estimate) -> str:
    """Return the value alone.

    >>> from speedbench.records import Estimate
    >>> value_text(Estimate.undefined("ar_3", "probability", "no data"))
    '-'
    """
    style = STYLES.get(found.unit, Style())
    if not math.isfinite(found.value):
        return NONE
    return _rounded(found.value * style.scale, style.decimals, ROUND_HALF_EVEN)


def bounds_text(found: Estimate) -> str:
    """Return the interval in brackets, rounded outwards; empty where there is none.

    >>> from speedbench.records import Estimate
    >>> wide = Estimate(estimand="speedup_measured", value=1.4, low=1e-9, high=5e40, n=2,
    ...                 unit="ratio", evidence="")
    >>> bounds_text(wide)
    '[<0.01, >99]'
    """
    style = STYLES.get(found.unit, Style())
    low, high = possible_bounds(found)
    if not math.isfinite(found.value) or math.isnan(low) or math.isnan(high):
        return ""
    low_text = _bound(low * style.scale, style, ROUND_FLOOR)
    return f"[{low_text}, {_bound(high * style.scale, style, ROUND_CEILING)}]"


def estimate_text(found: Estimate) -> str:
    """Return value and interval.

    >>> from speedbench.records import Estimate
    >>> al = Estimate(estimand="al_per_step", value=2.44, low=2.391, high=2.488, n=880,
    ...               unit="tokens/step", evidence="")
    >>> estimate_text(al)
    '2.44 [2.39, 2.49]'
    """
    return f"{value_text(found)} {bounds_text(found)}".rstrip()


def possible_bounds(found: Estimate) -> tuple[float, float]:
    """Return the interval within what the unit allows."""
    style = STYLES.get(found.unit, Style())
    if math.isnan(found.low) or math.isnan(found.high):
        return found.low, found.high
    return max(found.low, style.least), min(found.high, style.most)


def _bound(value: float, style: Style, rounding: str) -> str:
    if value > style.beyond:
        return f">{style.beyond}"
    smallest = 10.0**-style.decimals
    if 0 < value < smallest and rounding == ROUND_FLOOR:
        return f"<{smallest:.{style.decimals}f}"
    return _rounded(value, style.decimals, rounding)


def _rounded(value: float, decimals: int, rounding: str) -> str:
    """Return at most three or so significant digits: 1.42, 14.2, 142."""
    digits = max(0, math.floor(math.log10(abs(value)))) if value else 0
    kept = max(0, decimals - digits)
    quantum = Decimal(1).scaleb(-kept)
    # Nine digits first: the noise of floating point is no reason to round a bound outwards.
    return str(Decimal(f"{value:.9g}").quantize(quantum, rounding=rounding))


def visible(text: object, limit: int = 48) -> str:
    r"""Return data as text that cannot disturb what stands around it.

    Control characters and marks that reorder text are written out, and long text is cut.

    >>> visible("safe\u202etxt.exe")
    'safe\\u202etxt.exe'
    """
    shown = "".join(
        c if c.isprintable() or c in _JOINERS else f"\\u{ord(c):04x}" for c in str(text)[:limit]
    )
    return shown + "…" if len(str(text)) > limit else shown


def width_of(text: str) -> int:
    """Return how many columns of a terminal, or half ems of a chart, a text takes.

    >>> width_of("数学")
    4
    """
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def streams(concurrency: int) -> str:
    """Return a load in words.

    >>> streams(1), streams(8)
    ('1 stream', '8 streams')
    """
    return f"{concurrency} stream" + ("" if concurrency == 1 else "s")


def arm_name(method: str, draft_length: int | None) -> str:
    """Return a way to speculate in words.

    >>> arm_name("draft_model", 3)
    'draft_model γ=3'
    """
    shown = visible(method)
    return shown if draft_length is None else f"{shown} γ={draft_length}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as a list within a sentence.

    >>> listed(["coding", "math", "rag"])
    'coding, math and rag'
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def percent(confidence: float) -> str:
    """Return a level of confidence, with as many digits as it needs.

    >>> percent(0.95), percent(0.9979166)
    ('95%', '99.8%')
    """
    return f"{100 * confidence:.1f}".removesuffix(".0") + "%"


def conclusions(decisions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what was decided, one sentence or two for each load.

    >>> on = {"verdict": "on", "method": "draft_model", "draft_length": 3, "concurrency": 1}
    >>> open_question = {"verdict": "cannot tell", "concurrency": 1}
    >>> for sentence in conclusions([
    ...     {**on, "slice": {"category": "coding"}},
    ...     {**open_question, "slice": {"category": "qa"}},
    ...     {**on, "slice": {}},
    ... ]):
    ...     print(sentence)
    At 1 stream: draft_model γ=3 pays for coding; cannot tell for qa. All prompts together:
    draft_model γ=3 pays.
    """
    loads = dict.fromkeys(decision["concurrency"] for decision in decisions)
    said = [_conclusion([d for d in decisions if d["concurrency"] == load]) for load in loads]
    if any(not d["slice"] and d["verdict"] == "cannot tell" for d in decisions):
        said.append("More launches and more prompts narrow the intervals.")
    return said


def _conclusion(decisions: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentences of one load."""
    parts = [decision for decision in decisions if decision["slice"]]
    whole = [decision for decision in decisions if not decision["slice"]]
    opening = f"At {streams(decisions[0]['concurrency'])}: "
    if not parts:
        return f"{opening}over all prompts, {_verdict(whole[0])}."
    said = opening + "; ".join(_clauses(parts))
    verdicts = {(d["verdict"], d.get("method"), d.get("draft_length")) for d in decisions}
    if whole and len(verdicts) == 1:
        joint = "and" if whole[0]["verdict"] == "on" else "nor"
        return f"{said}, {joint} for all prompts together."
    return f"{said}. All prompts together: {_verdict(whole[0])}." if whole else f"{said}."


def _clauses(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what pays for which slices, what does not, and what cannot be told."""
    n_slices = len(parts)
    on: dict[str, list[str]] = {}
    for part in parts:
        if part["verdict"] == "on":
            on.setdefault(arm_name(part["method"], part["draft_length"]), []).append(_slice(part))
    off = [_slice(part) for part in parts if part["verdict"] == "off"]
    unknown = [_slice(part) for part in parts if part["verdict"] == "cannot tell"]
    clauses = [f"{arm} pays for {_those(names, n_slices)}" for arm, names in on.items()]
    if off:
        clauses.append(f"nothing pays for {_those(off, n_slices, 'any of the')}")
    if unknown:
        rest = len(unknown) < n_slices and len(unknown) > FEW
        named = (
            f"the other {len(unknown)} categories"
            if rest
            else _those(unknown, n_slices, "any of the")
        )
        clauses.append(f"cannot tell for {named}")
    return clauses


def _those(names: Sequence[str], n_slices: int, every: str = "all") -> str:
    if len(names) < n_slices or n_slices == 1:
        return listed(names)
    return f"{every} {n_slices} categories"


def _slice(decision: Mapping[str, Any]) -> str:
    return visible(", ".join(map(str, decision["slice"].values())))


def _verdict(decision: Mapping[str, Any]) -> str:
    if decision["verdict"] == "on":
        return f"{arm_name(decision['method'], decision['draft_length'])} pays"
    return "nothing pays" if decision["verdict"] == "off" else "cannot tell"


def counted(counts: Mapping[str, Any]) -> str:
    """Return what was sent and what came of it, failures by kind.

    >>> counted({"planned": 26, "finished": 24, "failed": 2, "failures": {"timeout": 2}})
    '24 of 26 requests finished, 2 failed (2 timeout)'
    """
    if "planned" in counts:
        planned = counts["planned"]
        of = f"{counts.get('sent', 0)} sent" if planned is None else planned
        said = [f"{counts.get('finished', 0)} of {of} requests finished"]
    else:
        said = [f"{counts.get('requests', 0)} requests in {counts.get('runs', 0)} runs"]
    kinds = counts.get("failures") or {}
    named = ", ".join(f"{number} {visible(kind)}" for kind, number in kinds.items())
    failed = f"{counts.get('failed') or 'none'} failed"
    said.append(f"{failed} ({named})" if named else failed)
    if counts.get("retried"):
        said.append(f"{counts['retried']} sent more than once")
    if counts.get("not_sent"):
        said.append(f"{counts['not_sent']} not sent")
    if counts.get("output_tokens"):
        said.append(f"{counts['output_tokens']} tokens out")
    return ", ".join(said)
