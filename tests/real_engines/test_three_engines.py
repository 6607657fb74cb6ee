"""The same pair in single precision, greedy, the same ids: equal tokens, equal steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.real_engines.comparing import compared
from tests.real_engines.conftest import DRAFT_LENGTH, Figures, Measured, Serve, measured

DATA = {"num_prompts": 22, "max_turns": 1}
SAMPLING = {"max_tokens": 96}


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """OpenVINO GenAI."""
    engine = {"engine": "embedded", "method": "draft_model", "pair": "unexpanded"}
    config = {
        "engine": {**engine, "draft_length": DRAFT_LENGTH},
        "data": DATA,
        "sampling": SAMPLING,
        "load": {"max_failures": "0"},
    }
    return measured(config, tmp_path_factory.mktemp("embedded") / "run")


@pytest.mark.parametrize("engine", ["vllm", "llama_cpp"])
def test_another_engine_gives_the_same_tokens_in_as_many_steps(
    engine: str, embedded: Measured, serve: Serve, tmp_path: Path, figures: Figures
) -> None:
    with serve(engine, "draft_model") as server:
        run = server.run(tmp_path / "run", data=DATA, sampling=SAMPLING)
    found = compared(embedded, run)
    figures.add(
        engine, "draft_model, beside OpenVINO GenAI", run, identical_share=found.identical_share
    )
    figures.add("openvino_genai", "draft_model", embedded)
    assert found.compared == 22, "the engines were not sent the same ids"
    assert not found.unexplained
    parted = {divergence.request for divergence in found.divergences}
    columns = ("request_id", "n_steps", "n_output_tokens")
    one = dict(zip(*by_request(embedded, *columns), strict=True))
    other = dict(zip(*by_request(run, *columns), strict=True))
    same = one.keys() - parted
    assert len(same) >= 20
    assert {name: one[name] for name in same} == {name: other[name] for name in same}


def by_request(run: Measured, key: str, *columns: str) -> tuple[list[str], list[tuple[int, ...]]]:
    table = run.trace.requests.select(key, *columns).sort(key)
    return table[key].to_list(), list(table.select(*columns).iter_rows())
