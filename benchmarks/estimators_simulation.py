"""Simulated speculative decoding whose true figures are known exactly.

The simulator walks steps.  The truth comes from elsewhere: from the distribution of partial sums of
tokens per step (a renewal process), with no step simulated and none of the package's code.

A prompt has a type (its acceptance rates at every draft position) and a number of decode tokens,
skewed as in published runs.  Drafts vary in length (0 = no draft found).  A response ends inside a
draft like a real one: an end-of-sequence that was drafted and accepted hides the verdicts behind
it; a token limit cuts after the engine has counted its acceptances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

T_AR_S = 0.020
"""Seconds of a plain decode step."""
STEP_NOISE = 0.05
"""Spread of one step's time."""
PROMPT_NOISE = 0.15
"""Spread between prompts of what a token costs, in both arms (context length and the like)."""
ARM_NOISE = 0.02
"""Spread of a prompt's cost that one arm does not share with the other."""


@dataclass(frozen=True, eq=False)
class World:
    """Prompt types with their rates (K, γ), shares of drafts by length, and response lengths.

    `lengths` (K, M): probability that a response of type k has m = 0 .. M - 1 decode tokens.
    """

    rates: Floats
    draft_lengths: Ints
    draft_shares: Floats
    lengths: Floats
    t_sd_s: float

    @property
    def gamma(self) -> int:
        return self.rates.shape[1]

    @property
    def cap(self) -> int:
        return self.lengths.shape[1] - 1


def make_world(
    *, scale: float = 1.0, varying: bool = True, n_types: int = 12, cap: int = 256
) -> World:
    """Return the world of the benchmark; `scale` multiplies every acceptance rate."""
    gamma = 4
    z = np.linspace(-1.6, 1.6, n_types)
    first = 1 / (1 + np.exp(-(0.7 + 0.7 * z)))
    fade = np.array([1.0, 0.93, 0.95, 0.90])
    rates = np.minimum(first[:, None] * fade * scale, 1.0)
    m = np.arange(cap + 1)
    # Lognormal lengths; hard text (low acceptance) runs longer; one response in 100 ends at once.
    centre = np.log(40.0) - 0.25 * z
    with np.errstate(divide="ignore"):
        density = np.exp(-0.5 * ((np.log(m)[None, :] - centre[:, None]) / 0.9) ** 2)
        density[:, 1:] /= m[1:]
    density[:, 0] = 0.0
    # What is longer than the token limit is cut at it.
    tail = np.exp(-0.5 * ((np.log(np.arange(cap + 1, 40 * cap)) - centre[:, None]) / 0.9) ** 2)
    density[:, cap] += (tail / np.arange(cap + 1, 40 * cap)).sum(axis=1)
    density *= 0.99 / density.sum(axis=1, keepdims=True)
    density[:, 0] = 0.01
    drafts = (0, 2, 4) if varying else (gamma,)
    shares = (0.1, 0.3, 0.6) if varying else (1.0,)
    return World(rates, np.array(drafts), np.array(shares), density, T_AR_S * 1.45)


@dataclass(frozen=True, eq=False)
class Batch:
    """Simulated prompts and their steps, in columns; steps are ordered by time, not by request."""

    type_of: Ints
    tokens: Ints
    limited: NDArray[np.bool_]
    request: Ints
    drafted: Ints
    accepted: Ints
    emitted: Ints
    truncated: NDArray[np.bool_]


def draw_prompts(world: World, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return types and decode tokens of n prompts."""
    kinds = rng.integers(0, len(world.rates), n)
    steps = np.cumsum(world.lengths, axis=1)
    tokens = np.empty(n, np.int64)
    for kind in range(len(world.rates)):
        mine = kinds == kind
        tokens[mine] = np.searchsorted(steps[kind], rng.random(int(mine.sum())), side="right")
    return kinds, np.minimum(tokens, world.cap)


def simulate(world: World, kinds: Ints, tokens: Ints, rng: np.random.Generator) -> Batch:
    """Walk the steps of every prompt to its end."""
    limited = tokens >= world.cap
    active = np.flatnonzero(tokens > 0)
    left = tokens.copy()
    parts: list[tuple[NDArray[np.generic], ...]] = []
    positions = np.arange(world.gamma)
    while len(active):
        drafted = rng.choice(world.draft_lengths, size=len(active), p=world.draft_shares)
        hit = rng.random((len(active), world.gamma)) < world.rates[kinds[active]]
        hit &= positions < drafted[:, None]
        accepted = np.where(hit.all(axis=1), world.gamma, np.argmin(hit, axis=1))
        remaining = left[active]
        emitted = np.minimum(accepted + 1, remaining)
        cut = accepted >= remaining
        # A drafted end-of-sequence ends the count; a token limit cuts after the engine counted.
        told = np.where(cut & ~limited[active], remaining, accepted)
        parts.append((active, drafted, told, emitted, cut))
        left[active] -= emitted
        active = active[left[active] > 0]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Batch(kinds, tokens, limited, *columns)  # type: ignore[arg-type]


def seconds(batch: Batch, world: World, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return decode seconds of every prompt without and with SD, mean 1 noise on each."""
    n = len(batch.tokens)

    def noise(spread: float) -> Floats:
        return np.exp(spread * rng.standard_normal(n) - spread**2 / 2)

    shared = noise(PROMPT_NOISE)
    steps = np.bincount(batch.request, minlength=n).astype(np.float64)

    def total(count: Floats, step_s: float) -> Floats:
        jitter = 1 + STEP_NOISE * rng.standard_normal(n) / np.sqrt(np.maximum(count, 1))
        return count * step_s * shared * noise(ARM_NOISE) * jitter

    return total(batch.tokens.astype(np.float64), T_AR_S), total(steps, world.t_sd_s)


@dataclass(frozen=True, eq=False)
class Truth:
    """What a run over ever more prompts would tend to."""

    al_per_step: float
    al_per_request: float
    rates: Floats
    al_eq1: float
    speedup: float


def step_pmf(rates: Floats, world: World) -> Floats:
    """Return P(an uncut step emits 0 .. γ + 1 tokens)."""
    pmf = np.zeros(world.gamma + 2)
    for length, share in zip(world.draft_lengths, world.draft_shares, strict=True):
        reach = np.concatenate([[1.0], np.cumprod(rates[:length])])
        for a in range(length):
            pmf[a + 1] += share * reach[a] * (1 - rates[a])
        pmf[length + 1] += share * reach[length]
    return pmf


def truth(world: World) -> Truth:
    """Return the exact figures, by the distribution of S_n, the tokens of n uncut steps.

    A response of m tokens takes N steps, P(N > n) = P(S_n < m); its remaining tokens before step
    n + 1 are m - S_n.  Position i is seen in a step iff it is drafted, reached, and i <= remaining.
    """
    top = world.cap
    tokens = steps = own_al = with_steps = 0.0
    risk, hits = np.zeros(world.gamma), np.zeros(world.gamma)
    for rates, lengths in zip(world.rates, world.lengths, strict=True):
        pmf = step_pmf(rates, world)
        m = np.arange(top + 1)
        sums = np.zeros(top + 1)
        sums[0] = 1.0
        visits = np.zeros(top + 1)
        survival = [(m > 0).astype(np.float64)]
        for _ in range(top):
            visits += sums
            sums = np.convolve(sums, pmf)[: top + 1]
            survival.append(np.concatenate([[0.0], np.cumsum(sums)[:-1]]))
        alive = np.array(survival)
        ends = alive[:-1] - alive[1:]
        inverse = (ends / np.arange(1, top + 1)[:, None]).sum(axis=0)
        tokens += float(lengths @ m)
        steps += float(lengths @ alive.sum(axis=0))
        own_al += float(lengths @ (m * inverse))
        with_steps += float(lengths[1:].sum())
        reach = np.concatenate([[1.0], np.cumprod(rates)])
        for i in range(1, world.gamma + 1):
            drafts = world.draft_shares[world.draft_lengths >= i].sum()
            # Visits with at least i tokens to go: S_n <= m - i.
            seen = np.concatenate([np.zeros(i), np.cumsum(visits)[: top + 1 - i]])
            at_risk = float(lengths @ seen) * drafts * reach[i - 1]
            risk[i - 1] += at_risk
            hits[i - 1] += at_risk * rates[i - 1]
    pooled = hits / risk
    al = tokens / steps
    return Truth(
        al_per_step=al,
        al_per_request=own_al / with_steps,
        rates=pooled,
        al_eq1=1 + float(np.cumprod(pooled).sum()),
        speedup=T_AR_S * al / world.t_sd_s,
    )


def scale_for_drop(drop: float) -> float:
    """Return the factor on every rate that lowers the true AL per step by `drop` (0.02 = 2%)."""
    base = truth(make_world()).al_per_step
    low, high = 0.5, 1.0
    for _ in range(25):
        middle = (low + high) / 2
        if truth(make_world(scale=middle)).al_per_step < (1 - drop) * base:
            low = middle
        else:
            high = middle
    return (low + high) / 2
