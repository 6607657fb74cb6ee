"""On what the acceptance figures of a run rest, and whether the accounts of it agree.

Two or three accounts of the same speculation may be at hand: per request, per chunk, and the
server's own counters.  They are held against each other, and every difference is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
import polars as pl

from speedbench import stats
from speedbench.records import Counts, ServerCounts
from speedbench.summary.columns import RunColumns
from speedbench.summary.estimates import EVIDENCE, Figure

SERVER_NOTE = "counters of the whole server: right only if nobody else used it; no interval"


def difference(after: ServerCounts, before: ServerCounts) -> ServerCounts:
    """Return what a server counted in between.

    >>> before, after = (ServerCounts(speculation=Counts(drafts=n)) for n in (3, 8))
    >>> difference(after, before).speculation.drafts
    5
    """
    return _combined(after, before, -1)


def total(one: ServerCounts, other: ServerCounts) -> ServerCounts:
    """Return what was counted in two parts of a run together.

    >>> one = ServerCounts(speculation=Counts(accepted_at=(3, 1)))
    >>> total(ServerCounts(), one).speculation.accepted_at
    (3, 1)
    """
    return _combined(one, other, 1)


def _combined(one: ServerCounts, other: ServerCounts, sign: int) -> ServerCounts:
    """Add or subtract every count; what only one of the two has stands for itself."""

    def count(a: int | None, b: int | None) -> int | None:
        return None if a is None and b is None else (a or 0) + sign * (b or 0)

    a, b = one.speculation, other.speculation
    at = None
    if a.accepted_at is not None or b.accepted_at is not None:
        pairs = zip_longest(a.accepted_at or (), b.accepted_at or (), fillvalue=0)
        at = tuple(x + sign * y for x, y in pairs)
    return ServerCounts(
        speculation=Counts(
            drafts=count(a.drafts, b.drafts),
            drafted=count(a.drafted, b.drafted),
            accepted=count(a.accepted, b.accepted),
            accepted_at=at,
        ),
        cached_tokens=count(one.cached_tokens, other.cached_tokens),
    )


def account(columns: RunColumns, server: ServerCounts | None) -> dict[str, Any]:
    """Return the tiers of the requests, chunks beside steps, and the server beside the requests.

    Parameters
    ----------
    columns
        The run.
    server
        What the server counted while the run was measured; None where it does not count.
    """
    found: dict[str, Any] = {"tiers": columns.tiers}
    table = columns.finished
    checked = table.filter(pl.col("decode_chunks").is_not_null())
    if len(checked):
        names = ("decode_chunks", "undrafted_steps", "cut_steps", "merged_steps", "unexplained")
        found["chunks_and_steps"] = {
            "requests": len(checked),
            "steps": int(checked["n_steps"].sum()),
            **{name: int(checked[name].sum()) for name in names},
        }
    if server is not None:
        found["server"] = _beside_server(columns, server)
    if cached := table["n_cached_tokens"].drop_nulls().sum():
        found["cached_input_tokens"] = int(cached)
    return found


def _beside_server(columns: RunColumns, server: ServerCounts) -> dict[str, Any]:
    """Return the server's counts beside the sum over the requests, and whether they are equal."""
    spec = server.speculation
    told = {"drafts": spec.drafts, "drafted": spec.drafted, "accepted": spec.accepted}
    table = columns.finished
    found: dict[str, Any] = {"server": told}
    if spec.accepted_at is not None:
        found["server"] = {**told, "accepted_at": list(spec.accepted_at)}
    if table["n_drafts"].null_count() or not len(table):
        return found
    sums = {name: int(table[f"n_{name}"].sum()) for name in told}
    equal = all(value is None or sums[name] == value for name, value in told.items())
    return {**found, "requests": sums, "agree": equal}


def notes(columns: RunColumns, found: dict[str, Any], server: ServerCounts | None) -> list[str]:
    """Return what of the account must be said beside the figures."""
    said = []
    if check := found.get("chunks_and_steps"):
        if check["merged_steps"]:
            said.append(
                f"{check['merged_steps']} of {check['steps']} decode steps arrived in a chunk "
                "together with others (the server's stream interval, or a client behind): chunks "
                "were not read as steps, and no step has a time of its own there."
            )
        if check["unexplained"]:
            said.append(
                f"Chunks and the engine's step counts differ by {check['unexplained']} that no "
                "cause explains: one of the two accounts is wrong, and acceptance is not to be "
                "trusted."
            )
    beside = found.get("server", {})
    if beside.get("agree") is False:
        failed = int(columns.trace.requests["failure_kind"].is_not_null().sum())
        cause = (
            f"{failed} requests failed and are in the server's counts alone"
            if failed
            else ("somebody else used the server, or counts were lost")
        )
        said.append(
            f"The server counted {beside['server']} and the requests add up to "
            f"{beside['requests']}: {cause}."
        )
    if server is not None and server.cached_tokens:
        said.append(
            f"{server.cached_tokens} input tokens were found in the server's prefix cache: TTFT is "
            "that of a warm cache, and a repeated run is not comparable with a first one."
        )
    return said


def server_figures(server: ServerCounts) -> Iterator[Figure]:
    """Yield what counters of the whole server allow: pooled acceptance and marginal rates.

    Steps without a draft are not counted by any engine that has such counters, so there is no AL
    per step here.
    """
    spec = server.speculation
    evidence = EVIDENCE["D"]
    if not spec.drafts:
        return
    if spec.accepted is not None:
        yield Figure(
            "al_given_draft", "tokens/step", _exact(1 + spec.accepted / spec.drafts), evidence
        )
        if spec.drafted:
            share = _exact(spec.accepted / spec.drafted)
            yield Figure("acceptance_share", "accepted/drafted", share, evidence)
    for position, accepted in enumerate(spec.accepted_at or (), start=1):
        rate = _exact(accepted / spec.drafts)
        yield Figure(f"marginal_rate_{position}", "accepted/drafts", rate, evidence)


def _exact(value: float) -> stats.Interval:
    return stats.Interval(value, np.nan, np.nan, 1, note=f"{SERVER_NOTE}; n counts servers")
