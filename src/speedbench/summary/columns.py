"""The columns of one run, summed per prompt: what every figure and its interval is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from speedbench import acceptance, timing
from speedbench.trace import Trace

Slice = Mapping[str, str]
OVERALL: Slice = {}


@dataclass(frozen=True)
class RunColumns:
    """Finished requests of one run, with prompts numbered 0, 1, ... in the order of `prompts`."""

    trace: Trace
    prompts: Sequence[str]
    tree: bool = False

    @classmethod
    def of(
        cls, trace: Trace, prompts: Sequence[str] | None = None, *, tree: bool = False
    ) -> RunColumns:
        """Return the columns of `trace`.

        Parameters
        ----------
        trace
            The run.
        prompts
            Fixes the numbering that runs share; default: those of the run.
        tree
            Whether drafts branch, so that acceptance has no rate by position.
        """
        known = trace.requests["prompt_id"].unique(maintain_order=True).to_list()
        return cls(trace, tuple(prompts or known), tree)

    @cached_property
    def finished(self) -> pl.DataFrame:
        """The requests that finished, renumbered 0, 1, ... as `row`."""
        kept = self.trace.requests.filter(pl.col("failure_kind").is_null())
        return kept.with_row_index("row")

    @cached_property
    def prompt_of_request(self) -> NDArray[np.int64]:
        """The prompt's number, for each finished request."""
        number = {name: i for i, name in enumerate(self.prompts)}
        return np.array([number[name] for name in self.finished["prompt_id"]], dtype=np.int64)

    @cached_property
    def units_of_time(self) -> tuple[NDArray[np.int64], int]:
        """The unit that intervals of times resample, for each finished request, and their number.

        Blocks, where the run has several: what the machine did to one request of a block it did to
        the others.  Otherwise prompts.
        """
        block = self.finished["block"].to_numpy()
        n_blocks = int(block.max(initial=0)) + 1
        if n_blocks > 1:
            return block, n_blocks
        return self.prompt_of_request, len(self.prompts)

    @property
    def sent_once(self) -> NDArray[np.bool_]:
        """Which finished requests were answered at the first attempt; times are theirs alone."""
        return (self.finished["attempt"] == 0).to_numpy()

    @property
    def name_of_time_unit(self) -> str:
        """What `units_of_time` counts."""
        n_blocks = self.finished["block"].n_unique()
        return "blocks of prompts" if n_blocks > 1 else "prompts"

    @cached_property
    def step_table(self) -> pl.DataFrame:
        """The steps of finished requests, with `row`."""
        return self.trace.steps.join(
            self.finished.select("request", "row", "launch", "block"),
            on="request",
            maintain_order="left",
        )

    @cached_property
    def tier(self) -> str:
        """The evidence tier of the run: the worst of its requests, ``none`` if there is none."""
        return str(self.finished["tier"].drop_nulls().max() or "none")

    @cached_property
    def tiers(self) -> dict[str, int]:
        """How many finished requests have each tier, best first."""
        counted = self.finished["tier"].drop_nulls().value_counts().sort("tier")
        return dict(counted.iter_rows())

    @cached_property
    def streams(self) -> timing.Streams | None:
        """The chunks; None where the engine does not say how many tokens a chunk holds."""
        chunks = self.trace.chunks.join(
            self.finished.select("request", "row"), on="request", maintain_order="left"
        )
        if chunks["n_tokens"].null_count():
            return None
        return timing.Streams.from_arrays(
            chunks["row"].to_numpy(),
            chunks["at_ns"].to_numpy(),
            chunks["n_tokens"].to_numpy(),
            sent_ns=self.finished["sent_ns"].to_numpy(),
            scheduled_ns=self.finished["scheduled_ns"].to_numpy(),
            names=self.finished["request_id"].to_list(),
        )

    @cached_property
    def steady(self) -> timing.Window | None:
        """The longest span at full concurrency; None for none, or for a run of several launches."""
        if not len(self.trace.chunks) or self.finished["launch"].n_unique() > 1:
            return None
        chunks = self.trace.chunks.join(
            self.finished.select("request", "row"), on="request", maintain_order="left"
        ).drop_nulls("row")
        streams = timing.Streams.from_arrays(
            chunks["row"].to_numpy(),
            chunks["at_ns"].to_numpy(),
            np.ones(len(chunks), dtype=np.int64),  # who is in flight does not depend on tokens
            sent_ns=self.finished["sent_ns"].to_numpy(),
        )
        window = timing.steady_window(streams)
        return window if window is not None and window.seconds else None

    def steps(self, mask: NDArray[np.bool_]) -> acceptance.Steps:
        """Return the decode steps of the finished requests in `mask`, renumbered."""
        table = self.step_table
        steps = acceptance.Steps.from_arrays(
            table["row"].to_numpy(),
            table["emitted"].to_numpy(),
            drafted=_with_nan(table["drafted"]),
            accepted=_with_nan(table["accepted"]),
            observed=_with_nan(table["observed"]),
            truncated=table["truncated"].to_numpy(),
            n_requests=len(self.finished),
            shape="tree" if self.tree else "chain",
            names=self.finished["request_id"].to_list(),
        )
        return steps.of_requests(mask)

    def acceptance_sums(self, where: Slice) -> acceptance.Sums:
        """Return acceptance per prompt, of the prompts that have a request in the slice."""
        mask = self.mask(where)
        units, prompt = np.unique(self.prompt_of_request[mask], return_inverse=True)
        table = self.finished.filter(pl.Series(mask))
        totals = (table["n_steps"].fill_null(0) > 0) & table["n_step_tokens"].is_null()
        if not totals.any():
            return acceptance.sums_by(self.steps(mask), prompt, len(units))
        # Requests of which only totals are known count in no step: leave them out there.
        rows = np.flatnonzero(mask)
        single = mask.copy()
        single[rows[totals.to_numpy()]] = False
        known = acceptance.sums_by(self.steps(single), prompt[~totals.to_numpy()], len(units))
        table, prompt = table.filter(totals), prompt[totals.to_numpy()]
        alone = acceptance.sums_of_totals(
            tokens=(table["n_output_tokens"] - table["n_prefill_tokens"]).to_numpy(),
            steps=table["n_steps"].to_numpy(),
            drafted=table["n_drafted"].fill_null(0).to_numpy(),
            accepted=table["n_accepted"].fill_null(0).to_numpy(),
            unit=prompt,
            n_units=len(units),
        )
        return acceptance.add_sums(known, alone)

    def mask(self, where: Slice) -> NDArray[np.bool_]:
        """Return which finished requests belong to a slice."""
        mask = np.ones(len(self.finished), dtype=np.bool_)
        for column, value in where.items():
            found = (self.finished[column].cast(pl.String) == value).fill_null(False)
            mask &= found.to_numpy()
        return mask

    def slices(self, by: Sequence[str] = ("category",)) -> list[Slice]:
        """Return the whole run, then each value of each column of `by`."""
        found: list[Slice] = [OVERALL]
        for column in by:
            values = self.finished[column].drop_nulls().cast(pl.String).unique().sort()
            found += [{column: value} for value in values]
        return found


def _with_nan(column: pl.Series) -> NDArray[np.float64]:
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()
