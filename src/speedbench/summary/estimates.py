"""Named estimates of one slice of one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from speedbench import acceptance, stats, timing
from speedbench.records import Estimate
from speedbench.summary.columns import RunColumns, Slice

N_RESAMPLES = 2000
SEED = 2_604_09557
"""Of the resampling: a summary recomputed from the same journal is the same to the digit."""

EVIDENCE = {
    "A": "tier A: the engine's own per-step counts",
    "B": "tier B: the engine's per-request histogram",
    "C": "tier C: token ids per chunk, checked against step counts",
    "D": "tier D: counters of the whole server",
    "none": "none",
}
STAMPS = "client stamps of arrival (the client's account says whose)"


@dataclass(frozen=True)
class Figure:
    """A name, a unit and an interval."""

    estimand: str
    unit: str
    interval: stats.Interval
    evidence: str

    def estimate(self) -> Estimate:
        """Return it as the record that is written."""
        found = self.interval
        return Estimate(
            estimand=self.estimand,
            value=found.value,
            low=found.low,
            high=found.high,
            n=found.n,
            unit=self.unit,
            evidence=self.evidence,
            confidence=found.confidence,
            note=found.note,
        )


def fresh_rng() -> np.random.Generator:
    """Return the generator of one interval; each starts anew, so none depends on its neighbours."""
    return np.random.default_rng(SEED)


def acceptance_figures(columns: RunColumns, where: Slice) -> Iterator[Figure]:
    """Yield every acceptance figure of a slice; nothing where the engine gave no evidence."""
    if columns.tier == "none":
        return
    evidence = evidence_of(columns)
    sums = columns.acceptance_sums(where)
    ratios = {
        "al_per_step": sums.al_per_step,
        "al_per_request": sums.al_per_request,
        "al_given_draft": sums.al_given_draft,
    }
    for name, ratio in ratios.items():
        yield Figure(name, "tokens/step", at_least_one(interval_of(ratio)), evidence)
    share = share_of(sums.acceptance_share)
    yield Figure("acceptance_share", "accepted/drafted", share, evidence)
    for position in range(1, sums.max_draft + 1):
        rate = share_of(sums.rate(position))
        yield Figure(f"ar_{position}", "probability", rate, evidence)
    if sums.max_draft:
        full = at_least_one(_at_full_draft_length(sums))
        yield Figure("al_at_full_draft_length", "tokens/step", full, evidence)


def evidence_of(columns: RunColumns) -> str:
    """Return on what evidence acceptance rests: one tier, or how many requests have each."""
    tiers = columns.tiers
    if len(tiers) < 2:
        return EVIDENCE[columns.tier]
    return "; ".join(f"{EVIDENCE[tier]} ({n} requests)" for tier, n in tiers.items())


def _at_full_draft_length(sums: acceptance.Sums) -> stats.Interval:
    """Return Eq. 1 with its interval; undefined where a draft position was never at risk."""
    full = acceptance.al_at_full_draft_length(sums)
    if np.isnan(full.value):
        return stats.Interval.undefined(full.note or "some draft position was never at risk")
    return stats.sums_interval(
        sums.eq1_columns(),
        acceptance.al_from_counts,
        rng=fresh_rng(),
        n_resamples=N_RESAMPLES,
        weights=sums.steps,
        note=full.note,
    )


def interval_of(ratio: acceptance.Ratio) -> stats.Interval:
    """Return the interval of a ratio of sums over prompts."""
    return stats.ratio_interval(
        ratio.num, ratio.den, rng=fresh_rng(), n_resamples=N_RESAMPLES, note=ratio.note
    )


def share_of(ratio: acceptance.Ratio) -> stats.Interval:
    """Return the interval of a share, which stays between 0 and 1."""
    return stats.share_interval(ratio.num, ratio.den, rng=fresh_rng(), note=ratio.note)


def at_least_one(found: stats.Interval) -> stats.Interval:
    """Cut the interval of an acceptance length at 1, which every step emits at least."""
    return replace(found, low=max(found.low, 1.0)) if found.low < 1.0 else found


def share_of_requests(
    values: Sequence[float] | Sequence[bool], prompts: Sequence[int] | NDArray[np.int64]
) -> stats.Interval:
    """Return the mean over requests of values between 0 and 1, with prompts resampled."""
    per_request = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(per_request)
    units = np.asarray(prompts, dtype=np.int64)[defined]
    left_out = int(np.count_nonzero(~defined))
    return stats.share_interval(
        np.bincount(units, weights=per_request[defined]),
        np.bincount(units),
        rng=fresh_rng(),
        note=f"{left_out} undefined values left out" if left_out else "",
    )


def text_figures(columns: RunColumns, where: Slice) -> Iterator[Figure]:
    """Yield how repetitive the answers are: loops inflate acceptance."""
    mask = columns.mask(where)
    answers = columns.finished.filter(pl.Series(mask))["output_ids"]
    if answers.null_count():
        return
    shares = [acceptance.distinct_ngram_share(ids.to_numpy()) for ids in answers]
    interval = share_of_requests(shares, columns.prompt_of_request[mask])
    yield Figure("distinct_3gram_share", "share", interval, "output token ids")


def timing_figures(columns: RunColumns, where: Slice) -> Iterator[Figure]:
    """Yield TTFT, and decode speed where the tokens of a chunk are known.

    The tail of TTFT is given for the whole run only: a slice has too few prompts to have one.
    """
    mask = columns.mask(where) & columns.sent_once
    units, n_units = columns.units_of_time
    table = columns.finished.filter(pl.Series(mask))
    counted = f"n counts {columns.name_of_time_unit}"
    ttft_s = ((table["first_ns"] - table["sent_ns"]) * 1e-9).cast(pl.Float64).fill_null(np.nan)
    for percent in (50,) if where else (50, 90, 95, 99):
        interval = stats.quantile_interval(
            ttft_s.to_numpy(), percent / 100, clusters=units[mask], rng=fresh_rng(), note=counted
        )
        yield Figure(f"ttft_s_p{percent}", "s", interval, STAMPS)
    streams = columns.streams
    if streams is None:
        yield from _tpot_by_vllm(table, units[mask], counted)
        return
    sums = timing.decode_sums_by(streams, np.where(mask, units, n_units), n_units + 1)
    speed = stats.ratio_interval(
        sums.tokens[:-1],
        sums.seconds[:-1],
        rng=fresh_rng(),
        n_resamples=N_RESAMPLES,
        note=counted,
    )
    yield Figure("user_tps", "tokens/s", speed, f"{STAMPS}; the first chunk's tokens excluded")


def _tpot_by_vllm(table: pl.DataFrame, units: NDArray[np.int64], note: str) -> Iterator[Figure]:
    """Yield TPOT as vLLM defines it, which takes the first chunk for one token."""
    gaps = (table["last_ns"] - table["first_ns"]).cast(pl.Float64) * 1e-9
    tokens = table["n_output_tokens"].cast(pl.Float64) - 1
    tpot_s = (gaps / tokens.set(tokens < 1, None)).fill_null(np.nan).to_numpy()
    interval = stats.mean_interval(tpot_s, clusters=units, rng=fresh_rng(), note=note)
    evidence = f"{STAMPS} and the server's usage; first chunk taken for one token, as vLLM does"
    yield Figure("tpot_vllm_s", "s/token", interval, evidence)


def step_latency(columns: RunColumns, batch: int) -> stats.Interval:
    """Return seconds per pure decode iteration at exactly this batch size.

    Blocks of the run are resampled, because the iterations of one block drift together.
    """
    table = columns.step_table.filter(
        (pl.col("batch") == batch) & ~pl.col("mixed") & pl.col("seconds").is_not_null()
    ).unique("ended_ns")  # the requests of one batch share the iteration
    # In the order of time, because a sum in another order has other last digits.
    blocks = table.sort("ended_ns").group_by("launch", "block", maintain_order=True)
    per_block = blocks.agg(pl.col("seconds").sum(), pl.len()).sort("launch", "block")
    found = stats.ratio_interval(
        per_block["seconds"].to_numpy(), per_block["len"].to_numpy(), rng=fresh_rng()
    )
    counted = "n counts blocks" if len(per_block) > 1 else "one block: no interval"
    note = f"{len(table)} iterations at batch {batch}, prefills left out; {counted}"
    return replace(found, note=note)


def step_gaps(columns: RunColumns) -> Iterator[Figure]:
    """Yield the time of a decode step as the client sees it, by how many drafts it accepted.

    Only where chunks and the engine's step counts line up, so that each step has a stamp: its time
    is the gap since the chunk before it.  The first decode step is left out, because what lies
    before it is the prefill's chunk, and so are steps that the engine itself has timed, and those
    that came in one read with a neighbour and have its stamp.
    """
    table = columns.step_table.filter(pl.col("seconds").is_nan() & pl.col("accepted").is_not_null())
    since, until = (pl.col("ended_ns").diff().over("row"), pl.col("ended_ns").diff(-1).over("row"))
    table = table.sort("row", "step").with_columns(gap_s=since * 1e-9, until=until)
    table = table.filter(
        (pl.col("gap_s") > 0) & (pl.col("until").is_null() | (pl.col("until") < 0))
    )
    table = table.filter(pl.Series(columns.sent_once)[table["row"]])
    if not len(table):
        return
    units, _ = columns.units_of_time
    source = f"{STAMPS}; chunks checked to be steps"
    for accepted in sorted(table["accepted"].unique()):
        some = table.filter(pl.col("accepted") == accepted)
        interval = stats.quantile_interval(
            some["gap_s"].to_numpy(),
            0.5,
            clusters=units[some["row"].to_numpy()],
            rng=fresh_rng(),
            note=f"median of {len(some)} steps; n counts {columns.name_of_time_unit}",
        )
        yield Figure(f"step_gap_s_accepted_{accepted}", "s", interval, source)


def throughput_figures(columns: RunColumns) -> Iterator[Figure]:
    """Yield output TPS, one number for each window, no interval; none for a resumed run."""
    table = columns.finished
    tokens = table["n_output_tokens"]
    if not len(table) or tokens.null_count() or table["launch"].n_unique() > 1:
        return
    ended_ns, sent_ns = table["ended_ns"].to_numpy(), table["sent_ns"].to_numpy()
    span_s = float(ended_ns.max() - sent_ns.min()) * 1e-9
    note = "first send to last end, all blocks and the pauses between them; no interval"
    value = float(tokens.sum()) / span_s
    interval = stats.Interval(value, np.nan, np.nan, len(columns.prompts), note=note)
    yield Figure("output_tps_whole_run", "tokens/s", interval, STAMPS)
    yield from _steady_throughput(columns)


def _steady_throughput(columns: RunColumns) -> Iterator[Figure]:
    """Yield output TPS over the steady window: ramp-up and the tail of the run are outside."""
    streams, window = columns.streams, columns.steady
    if streams is None or window is None:
        return
    found = timing.output_tps(streams, window)
    began_s = (window.start_ns - columns.finished["sent_ns"].to_numpy().min()) * 1e-9
    note = (
        f"the longest span with {window.concurrency} requests in flight: {window.seconds:.3g} s, "
        f"from {began_s:.3g} s after the first send; no interval"
    )
    interval = stats.Interval(found.tokens_per_s, np.nan, np.nan, len(columns.prompts), note=note)
    yield Figure("output_tps_steady", "tokens/s", interval, STAMPS)
