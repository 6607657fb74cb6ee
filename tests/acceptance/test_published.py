"""A published run, recomputed from its histogram under its convention, and ours beside it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from speedbench.acceptance import (
    Steps,
    al_at_full_draft_length,
    al_per_step,
    chunk_convention_rates,
    conditional_rates,
    mean_from_histogram,
    rates_from_histogram,
    without_prefill_chunks,
)
from speedbench.errors import TraceError

TABLES = Path(__file__).parents[2] / ".." / "shared" / "facts" / "tables"
PREFILL_CHUNKS = 1138
"""One per request of the run: 880 prompts, some of several turns."""


@pytest.fixture(scope="module")
def run() -> dict[str, dict[str, float]]:
    path = TABLES / "05_speedbench_hfblog_run_output.csv"
    if not path.exists():
        pytest.skip("the published tables (../shared/facts/tables) are not here")
    found: dict[str, dict[str, float]] = {}
    with path.open() as lines:
        for row in csv.DictReader(lines):
            found.setdefault(row["metric"], {})[row["key"]] = float(row["value"])
    return found


def test_its_rates_to_every_printed_digit(run):
    counts = list(run["acceptance_length_histogram"].values())
    printed = list(run["conditional_acceptance_rate"].values())
    assert chunk_convention_rates(counts).tolist() == printed


def test_its_pooled_al_with_and_without_the_prefill_chunks(run):
    counts = list(run["acceptance_length_histogram"].values())
    assert sum(counts) == 179_976
    assert round(mean_from_histogram(counts), 4) == 2.4968
    decode = without_prefill_chunks(counts, PREFILL_CHUNKS)
    assert round(mean_from_histogram(decode), 4) == 2.5064
    # The macro figure that was printed is neither.
    assert run["overall_average_al"][""] == 2.4511


def test_the_same_decode_steps_through_columns(run):
    counts = list(run["acceptance_length_histogram"].values())
    decode = without_prefill_chunks(counts, PREFILL_CHUNKS)
    emitted = np.repeat(np.arange(1, 5), decode)
    steps = Steps.from_arrays(
        np.zeros(len(emitted), int), emitted, drafted=np.full(len(emitted), 3), accepted=emitted - 1
    )
    assert round(al_per_step(steps).value, 4) == 2.5064
    np.testing.assert_allclose(conditional_rates(steps).values, rates_from_histogram(decode))
    # No step is known to be cut in a histogram, so Eq. 1 says the same.
    assert al_at_full_draft_length(steps).value == pytest.approx(al_per_step(steps).value)


def test_the_mean_of_its_categories_is_the_mean_of_requests_printed(run):
    # 80 prompts each: a plain mean of categories, to the digits printed.
    assert round(float(np.mean(list(run["category_average_al"].values()))), 3) == 2.451


def test_histograms_that_cannot_be():
    assert np.isnan(mean_from_histogram([]))
    with pytest.raises(TraceError, match="none negative"):
        mean_from_histogram([3, -1])
    with pytest.raises(TraceError, match="not among the chunks of one token"):
        without_prefill_chunks([3, 1], 4)
