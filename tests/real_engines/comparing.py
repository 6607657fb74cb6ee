"""Answers of two runs held against each other, id by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tests.engines.test_graph import llama_logits
from tests.real_engines.conftest import TARGET, Measured

from speedbench import load, store

NEAR = 1e-3
"""Logits of the two candidates closer than this part by rounding."""


class Divergence(NamedTuple):
    """Where two answers to the same input part first, and how close the two tokens were."""

    request: str
    token: int
    one: int | None
    other: int | None
    gap: float


class Comparison(NamedTuple):
    """How many answers to the same inputs are the same, and where the others part."""

    compared: int
    identical: int
    divergences: list[Divergence]

    @property
    def identical_share(self) -> float:
        return self.identical / self.compared if self.compared else float("nan")

    @property
    def unexplained(self) -> list[Divergence]:
        """Those that no rounding explains."""
        return [d for d in self.divergences if not d.gap < NEAR]


def compared(one: Measured, other: Measured) -> Comparison:
    """Compare the answers that both runs gave to the same input."""
    first, second = one.outputs(), other.outputs()
    shared = sorted(first.keys() & second.keys())
    inputs = {request.id: request.input_ids for request in requests_of(one)}
    reference: _Reference | None = None
    found = []
    for key in shared:
        a, b = first[key], second[key]
        place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        if place is None:
            if len(a) != len(b):
                place = min(len(a), len(b))
            else:
                continue
        reference = reference or _Reference(TARGET)
        x, y = (ids[place] if place < len(ids) else None for ids in (a, b))
        gap = reference.gap([*inputs[key[0]], *a[:place]], x, y)
        found.append(Divergence(key[0], place, x, y, gap))
    return Comparison(len(shared), len(shared) - len(found), found)


def requests_of(run: Measured) -> list[Any]:
    """Return the requests of a run, with the ids that were sent."""
    recording = load.read_journals(store.journals(run.path))
    return [exchange.request for exchange in recording.exchanges(recording.ended().values())]


class _Reference:
    """The target in NumPy: the reference of tests/engines/test_graph.py."""

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_bytes())
        weights = load_file(directory / "model.safetensors")
        self.weights: dict[str, NDArray[np.float64]] = {
            name: weight.astype(np.float64) for name, weight in weights.items()
        }

    def gap(self, ids: list[int], one: int | None, other: int | None) -> float:
        """Return how far apart the logits of two next tokens are."""
        if one is None or other is None:
            return float("inf")
        logits = llama_logits(ids, self.weights, self.config)[-1]
        return abs(float(logits[one] - logits[other]))
