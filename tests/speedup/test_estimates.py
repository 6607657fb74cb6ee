"""Speedup estimates against engines whose truth is known."""

import math

import numpy as np
import pytest

from speedbench.errors import CallError, TraceError
from speedbench.speedup import (
    JointProxy,
    disagreement,
    exact,
    joint_disagreement,
    measured_speedup,
    measured_speedup_launches,
    projected_speedup,
    proxy_speedup,
)
from speedbench.stats import Interval, mean_interval, ratio_interval


def rng(seed=0):
    return np.random.default_rng(seed)


def one_run(chance, n=60, overhead=1.0):
    """Return sums per prompt: t_ar 20 ms, t_sd 29 ms, AL about 2.4; `overhead` slows the client."""
    steps = np.ceil(chance.gamma(2, 20, n))
    tokens = np.rint(steps * np.clip(chance.normal(2.4, 0.5, n), 1, 4))
    ar_step_s = tokens * 0.020 * np.exp(0.02 * chance.standard_normal(n))
    sd_step_s = steps * 0.029 * np.exp(0.02 * chance.standard_normal(n))
    return JointProxy(
        ar_step_seconds=ar_step_s,
        ar_steps=tokens,
        sd_step_seconds=sd_step_s,
        sd_steps=steps,
        al_tokens=tokens,
        al_steps=steps,
        ar_seconds=ar_step_s,
        ar_tokens=tokens,
        sd_seconds=sd_step_s * overhead,
        sd_tokens=tokens,
    )


def test_eq_3_by_hand():
    assert float(projected_speedup(2.6, 25.2, 59.9)) == pytest.approx(2.6 * 25.2 / 59.9)
    with pytest.raises(CallError, match="are positive"):
        projected_speedup(2.6, 0.0, 1.0)


def test_with_step_times_of_the_same_run_eq_3_is_an_identity():
    found = joint_disagreement(one_run(rng(1)), rng=rng())
    assert found.value == pytest.approx(1)
    assert found.high - found.low < 1e-9


def test_an_overhead_outside_the_steps_is_the_disagreement():
    sums = one_run(rng(2), overhead=1.10)
    found = joint_disagreement(sums, rng=rng())
    assert found.value == pytest.approx(1.10)
    assert found.low == pytest.approx(1.10, abs=1e-9)


def test_the_joint_interval_is_narrower_than_that_of_separate_data():
    sums = one_run(rng(3))
    al = ratio_interval(sums.al_tokens, sums.al_steps, rng=rng())
    t_ar = ratio_interval(sums.ar_step_seconds, sums.ar_steps, rng=rng())
    t_sd = ratio_interval(sums.sd_step_seconds, sums.sd_steps, rng=rng())
    measured = measured_speedup(
        sums.ar_seconds, sums.ar_tokens, sums.sd_seconds, sums.sd_tokens, rng=rng()
    )
    separate = disagreement(proxy_speedup(al, t_ar, t_sd), measured)
    joint = joint_disagreement(sums, rng=rng())
    assert separate.value == pytest.approx(joint.value)
    assert separate.se > 10 * joint.se


def test_prompts_without_all_sums_are_left_out():
    sums = one_run(rng(4), n=5)
    tokens = np.array(sums.sd_tokens)
    tokens[2] = 0
    found = joint_disagreement(JointProxy(**{**vars(sums), "sd_tokens": tokens}), rng=rng())
    assert (found.n, found.note) == (4, "1 prompts without all sums left out")
    with pytest.raises(TraceError, match="different shapes"):
        joint_disagreement(JointProxy(**{**vars(sums), "sd_tokens": [1.0]}), rng=rng())


def test_the_proxys_interval_covers_eq_3():
    """AL from one set of prompts, step times from others; Monte Carlo error 0.6 points."""
    chance, hits, runs = rng(5), 0, 1500
    truth = 0.020 * 2.4 / 0.029
    for _ in range(runs):
        steps = np.ceil(chance.gamma(2, 20, 80))
        tokens = steps * chance.normal(2.4, 0.5, 80)
        al = ratio_interval(tokens, steps, rng=chance)
        t_ar = mean_interval(0.020 * (1 + 0.05 * chance.standard_normal(12)), rng=chance)
        t_sd = mean_interval(0.029 * (1 + 0.05 * chance.standard_normal(12)), rng=chance)
        found = proxy_speedup(al, t_ar, t_sd)
        hits += found.low <= truth <= found.high
    assert found.n == 80
    assert 0.93 <= hits / runs <= 0.97


def test_exact_step_times_leave_the_interval_of_al():
    al = Interval.from_pivot(2.5, 0.02, 79, 80)
    found = proxy_speedup(al, exact(20.0), exact(30.0))
    assert (found.low, found.high) == pytest.approx((al.low * 2 / 3, al.high * 2 / 3))


def test_an_undefined_al_leaves_the_speedup_undefined():
    found = proxy_speedup(Interval.undefined("no decode step"), exact(20.0), exact(30.0))
    assert math.isnan(found.value)
    assert (found.n, found.note) == (0, "no decode step")


def test_measured_speedup_pools_seconds_per_token():
    # 15 s for 370 tokens against 7.6 s for 380: tokens need not agree where answers differ.
    found = measured_speedup([4, 6, 5], [100, 150, 120], [2, 3.2, 2.4], [100, 160, 120], rng=rng())
    assert found.value == pytest.approx((15 / 370) / (7.6 / 380))
    assert "one launch" in found.note


def test_repeated_launches_widen_the_interval_by_what_launches_differ():
    tokens = np.full((3, 30), 100.0)
    cost = np.exp(0.3 * rng(6).standard_normal(30))
    drift = np.array([[0.97], [1.0], [1.04]])
    ar, sd = tokens * 0.02 * cost, tokens * 0.01 * cost
    steady = measured_speedup_launches(ar, tokens, sd, tokens, rng=rng())
    drifting = measured_speedup_launches(ar, tokens, sd * drift, tokens, rng=rng())
    assert steady.value == pytest.approx(2)
    assert steady.high - steady.low < 1e-9
    # Three launches with deviations of -3, 0 and 4%: t with 2 degrees of freedom, by hand.
    logs = np.log(drift.ravel())
    reach = 4.303 * logs.std(ddof=1) / np.sqrt(3)
    assert math.log(drifting.high / drifting.value) == pytest.approx(reach, rel=0.02)
