"""vLLM on the CPU: every method, by every account of it that there is."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.conftest import Silent
from tests.real_engines.comparing import compared
from tests.real_engines.conftest import DRAFT_LENGTH, Figures, Measured, Serve, Served

from speedbench import analysis, pipeline
from speedbench.config import validated
from speedbench.errors import EngineError
from speedbench.launch.serving import holder_of

METHODS = ("none", "ngram", "draft_model", "eagle3", "mtp")
LOADS = (1, 8)


@pytest.fixture(scope="module")
def baseline(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The answers without speculation."""
    with serve("vllm", "none") as server:
        return server.run(tmp_path_factory.mktemp("baseline") / "run")


class Method:
    """What one server, started once, was measured to do."""

    def __init__(self, server: Served, directory: Path) -> None:
        self.server = server
        self.runs = {n: server.run(directory / f"c{n}", load={"concurrency": n}) for n in LOADS}
        self.turns = server.run(
            directory / "turns",
            data={"num_prompts": 20, "max_turns": 2, "categories": ["writing", "coding"]},
            preflight="off",
        )
        self.cut_short = server.run(
            directory / "aborted",
            data={"num_prompts": 4},
            sampling={"max_tokens": 512},
            load={"max_failures": "100%", "timeouts": {"total_timeout": 0.05}, "warm_up": 0},
            preflight="off",
        )
        self.messages = server.run(
            directory / "messages", engine={"tokenizer": "none"}, preflight="off"
        )
        self.after = server.run(directory / "after", data={"num_prompts": 11}, preflight="off")


@pytest.fixture(scope="module", params=METHODS)
def method(
    request: pytest.FixtureRequest, serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Method]:
    name = request.param
    with serve("vllm", name) as server:
        yield Method(server, tmp_path_factory.mktemp(f"vllm-{name}"))


@pytest.mark.parametrize("load", LOADS)
def test_per_request_counts_are_the_servers_own(method: Method, load: int) -> None:
    """Tier A against the difference of ``/metrics``, to the last token."""
    beside = method.runs[load].evidence["server"]
    if method.server.method == "none":
        assert not any(v for v in beside["server"].values())
        return
    assert beside["agree"], beside
    assert beside["requests"]["drafts"] > 0


@pytest.mark.parametrize("load", LOADS)
def test_chunks_differ_from_steps_only_by_what_has_a_cause(method: Method, load: int) -> None:
    """Cut last steps, steps without a draft, and on a busy machine merged chunks: nothing else."""
    run = method.runs[load]
    table = run.trace.requests
    if method.server.method == "none":  # without speculation there is no account, and no step
        assert run.evidence["tiers"] == {"none": len(table)}
        return
    assert run.evidence["tiers"] == {"A": len(table)}
    assert table["unexplained"].sum() == 0
    assert (table["cut_steps"] <= 1).all()
    chunks = table["decode_chunks"].sum() + table["merged_steps"].sum()
    assert chunks == table["n_steps"].sum()
    if method.server.method in ("draft_model", "eagle3", "mtp"):
        assert table["undrafted_steps"].sum() == 0
    cut = run.trace.steps.filter(pl.col("truncated"))
    assert len(cut) == table["cut_steps"].sum()


@pytest.mark.parametrize("load", LOADS)
def test_speculation_changes_no_greedy_token(
    method: Method, load: int, baseline: Measured, figures: Figures
) -> None:
    found = compared(baseline, method.runs[load])
    figures.add(
        "vllm",
        method.server.method if load == 1 else f"{method.server.method} at concurrency {load}",
        method.runs[load],
        identical_share=found.identical_share,
        first_divergence=[d._asdict() for d in found.divergences[:1]],
    )
    assert found.compared == 22
    assert not found.unexplained


def test_the_preflight_says_what_the_server_does(method: Method) -> None:
    found = {f["check"]: f for f in method.runs[1].manifest.preflight}
    assert not [f for f in found.values() if f["verdict"] == "fail"]
    assert found["version"]["sentence"].startswith("vllm 0.")
    assert found["tokenizer"]["verdict"] == found["input"]["verdict"] == "pass"
    assert found["temperature 0"]["verdict"] == "pass"
    assert found["prefix cache"]["verdict"] == "pass"
    if method.server.method in ("draft_model", "eagle3", "mtp"):
        assert found["draft length"]["sentence"].startswith(f"said to be {DRAFT_LENGTH}, at most 4")
        assert found["concurrency"]["verdict"] == "pass"


def test_a_second_turn_is_the_first_with_the_engines_own_answer(method: Method) -> None:
    table = method.turns.trace.requests.sort("prompt_id", "turn")
    second = table.filter(pl.col("turn") == 1)
    first = table.filter(pl.col("turn") == 0)
    assert len(second) > 0
    assert table["failure_kind"].null_count() == len(table)
    longer = second.join(first, on="prompt_id", suffix="_first")
    grown = longer["n_input_tokens"] - longer["n_input_tokens_first"]
    assert (grown >= longer["n_output_tokens_first"]).all()
    assert method.turns.evidence["server"].get("agree", True)


def test_messages_are_read_as_the_ids_that_we_would_have_sent(method: Method) -> None:
    """The chat route: vLLM's template and tokenizer against ours, by what comes of them."""
    by_ids = method.runs[1].trace.requests.sort("request_id")
    by_messages = method.messages.trace.requests.sort("request_id")
    for column in ("n_input_tokens", "output_ids", "n_drafted", "n_accepted"):
        assert by_messages[column].to_list() == by_ids[column].to_list(), column
    assert (by_messages["input_hash"] != by_ids["input_hash"]).all()
    assert method.messages.evidence["tiers"] == method.runs[1].evidence["tiers"]


def test_an_aborted_request_costs_itself_alone(method: Method, baseline: Measured) -> None:
    """The client gives up after 50 ms; the server goes on, and counts what nobody was told."""
    table = method.cut_short.trace.requests
    assert set(table["failure_kind"].drop_nulls()) == {"total_timeout"}
    after = method.after
    assert after.trace.requests["failure_kind"].null_count() == len(after.trace.requests)
    expected = baseline.outputs()
    same = [expected[key] == ids for key, ids in after.outputs().items() if key in expected]
    assert same
    assert all(same)


def test_a_tokenizer_that_is_not_the_servers_stops_the_run_before_anything_is_sent(
    serve: Serve, tmp_path: Path
) -> None:
    """transformers gives every MiMo the tokenizer of Qwen2, whatever its directory holds."""
    with (
        serve("vllm", "mtp", "--tokenizer", "{model}") as server,
        pytest.raises(EngineError, match="the server's tokenizer is another"),
    ):
        server.run(tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.json").exists()
    assert "POST /v1/completions" not in (server.directory / "engine.log").read_text()


def test_acceptance_that_collapses_above_temperature_0_is_told_beforehand(
    serve: Serve, tmp_path: Path
) -> None:
    """vllm-project/vllm#55005, in this very build: the preflight says what the run then shows."""
    with serve("vllm", "draft_model") as server:
        greedy = server.run(tmp_path / "greedy", preflight="off")
        sampled = server.run(tmp_path / "sampled", sampling={"temperature": 0.05}, preflight="warn")
    found = {f["check"]: f for f in sampled.manifest.preflight}
    shares = [run.value("acceptance_share") for run in (greedy, sampled)]
    collapsed = shares[1] < shares[0] / 4
    assert found["temperature"]["verdict"] == ("fail" if collapsed else "pass"), shares


def test_a_server_that_holds_tokens_back_is_caught(
    serve: Serve, tmp_path: Path, baseline: Measured
) -> None:
    """With ``--stream-interval 4`` chunks are no steps, though their sizes look like some."""
    with serve("vllm", "draft_model", "--stream-interval", "4") as server:
        run = server.run(tmp_path / "run")
    found = {f["check"]: f for f in run.manifest.preflight}
    assert found["chunks"]["verdict"] == "caution"
    assert "stream interval" in found["chunks"]["sentence"]
    table = run.trace.requests
    assert table["merged_steps"].sum() > table["n_steps"].sum() / 4
    assert table["unexplained"].sum() == 0
    assert run.evidence["server"]["agree"]
    sizes = run.trace.chunks.filter(pl.col("chunk") > 0)["n_tokens"]
    assert sizes.max() <= 2 * (DRAFT_LENGTH + 1)  # plausible, and not steps
    assert any("together with others" in note for note in run.summary.notes)
    assert not compared(baseline, run).unexplained


def test_summary_level_gives_the_histogram_and_the_same_acceptance(
    serve: Serve, tmp_path: Path, figures: Figures
) -> None:
    """Without per-step lists: tier C where chunks pass as steps, B where they do not."""
    level = ("--per-request-spec-decode-metrics", "summary")
    with serve("vllm", "draft_model", *level) as server:
        run = server.run(tmp_path / "run")
    assert set(run.evidence["tiers"]) <= {"B", "C"}
    assert run.evidence["server"]["agree"]
    figures.add("vllm", "draft_model, histogram only", run)
    detailed = figures.found["vllm"]["draft_model"]
    assert run.value("al_per_step") == pytest.approx(detailed["al_step"])


def test_a_server_killed_in_mid_run_ends_it_and_resume_finishes(
    serve: Serve, tmp_path: Path
) -> None:
    config = {
        "engine": {"engine": "vllm", "method": "draft_model", "draft_length": DRAFT_LENGTH},
        "data": {"num_prompts": 22, "max_turns": 1},
        "sampling": {"max_tokens": 64},
        "load": {"max_failures": "2"},
        "preflight": "off",
    }

    class Killer(Silent):
        pid = 0

        def ended(self, request_id: str, failed: object) -> None:
            super().ended(request_id, failed)  # type: ignore[arg-type]
            if len(self.outcomes) == 6:
                os.kill(self.pid, signal.SIGKILL)

    with (  # noqa: PT012  (the server's own block raises, at its end)
        pytest.raises(EngineError, match=r"signal 9|killed") as raised,
        serve("vllm", "draft_model") as server,
    ):
        killer = Killer()
        killer.pid = engine_pid(server)
        port = server.url.rpartition(":")[2]
        config["engine"] |= {"base_url": server.url, "tokenizer": str(server.tokenizer)}
        pipeline.run(validated(config), tmp_path / "run", resume=False, observer=killer)
    assert "go on with --resume" in str(raised.value)
    kept = analysis.read_trace(tmp_path / "run")[1].requests
    n_finished = kept["failure_kind"].null_count()
    assert 5 <= n_finished < 22
    with serve("vllm", "draft_model", port=int(port)) as server:
        pipeline.run(validated(config), tmp_path / "run", resume=True, observer=Silent())
    table = analysis.read_trace(tmp_path / "run")[1].requests
    assert table["failure_kind"].null_count() == len(table) == 22


def engine_pid(server: Served) -> int:
    """The process that answers at the server's port."""
    found = re.match(r"process (\d+)", holder_of(int(server.url.rpartition(":")[2])))
    assert found
    return int(found[1])
