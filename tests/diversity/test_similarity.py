"""Mean similarity: its interval by simulation, random draws by enumeration."""

import itertools

import numpy as np
import pytest

from speedbench.diversity import (
    mean_similarity,
    mean_similarity_interval,
    random_draws,
    unit_rows,
)
from speedbench.errors import CallError, DataError


def test_the_error_is_that_of_leaving_out_each_prompt(make_pool):
    pool = make_pool(25)
    found = mean_similarity_interval(pool)
    without = np.array([mean_similarity(np.delete(pool, i, axis=0)) for i in range(25)])
    expected = np.sqrt(24 / 25 * np.square(without - without.mean()).sum())
    assert found.value == pytest.approx(mean_similarity(pool))
    assert found.se == pytest.approx(expected)
    # Student's t of 24 degrees of freedom at 97.5%, from a table: 2.0639.
    assert found.high - found.value == pytest.approx(2.0639 * expected, rel=1e-4)
    assert found.value - found.low == pytest.approx(found.high - found.value)


@pytest.mark.parametrize("n", [20, 80])
def test_it_covers_the_mean_of_the_source(n):
    # A source of 12 clusters of unequal weight; mean over pairs of the source = |E x|².
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((12, 6)) + 0.4
    weights = rng.dirichlet(np.full(12, 2.0))

    def draw(size):
        table = centres[rng.choice(12, size, p=weights)] + 0.6 * rng.standard_normal((size, 6))
        return unit_rows(table, out=table)

    truth = float(np.square(draw(2_000_000).mean(axis=0)).sum())
    runs = [mean_similarity_interval(draw(n)) for _ in range(2000)]
    covered = np.mean([run.low <= truth <= run.high for run in runs])
    # Two standard errors of 2,000 runs are 1%; a jackknife of few prompts is a little off.
    assert 0.925 <= covered <= 0.965
    values = np.array([run.value for run in runs])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(len(runs)))


def test_too_few_prompts_have_no_interval(make_pool):
    one, two = mean_similarity_interval(make_pool(1)), mean_similarity_interval(make_pool(2))
    assert one.n == 1
    assert np.isnan([one.value, one.low, one.high, one.se]).all()
    assert not np.isnan(two.value)
    assert np.isnan([two.low, two.high]).all()


def test_expected_of_a_random_draw_is_the_mean_over_all_sets(make_pool):
    pool = make_pool(9)
    every = [mean_similarity(pool[list(s)]) for s in itertools.combinations(range(9), 4)]
    found = random_draws(pool, 4, rng=np.random.default_rng(0), n_draws=4000)
    assert found.expected == pytest.approx(np.mean(every))
    assert found.values.mean() == pytest.approx(np.mean(every), abs=4 * np.std(every) / 63)
    assert set(found.values.round(9)) == set(np.round(every, 9))
    assert found.low == pytest.approx(np.quantile(every, 0.025), abs=0.02)
    assert found.high == pytest.approx(np.quantile(every, 0.975), abs=0.02)
    assert found.share_at_most(min(every) - 1e-9) == 0.0
    assert found.share_at_most(max(every) + 1e-9) == 1.0


def test_what_random_draws_refuse(make_pool):
    rng = np.random.default_rng(0)
    with pytest.raises(CallError, match="10 draws of 1 "):
        random_draws(make_pool(5), 1, rng=rng, n_draws=10)
    with pytest.raises(DataError, match="5 candidates are too few"):
        random_draws(make_pool(5), 6, rng=rng)
    with pytest.raises(CallError, match="confidence of 1"):
        mean_similarity_interval(make_pool(5), confidence=1)
