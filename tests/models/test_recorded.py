"""What vLLM and llama.cpp sent, against the models computed in numpy.

The exported weights, the heads' wiring, the engines' counts and the recordings are checked in one
go: a wrong name, a wrong rotation or a wrong feature shows as other tokens or other acceptance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from models.export import export_vllm
from tests.models import reference

RECORDED = Path(__file__).parent.parent / "golden" / "recorded"
VLLM, LLAMA_CPP = RECORDED / "vllm-0.32.0", RECORDED / "llama_cpp-b0-0c1e570"
METHODS = {
    VLLM: ("none", "ngram", "draft_model", "eagle3", "mtp"),
    LLAMA_CPP: ("none", "ngram", "draft_model", "eagle3"),
}
FILES = [(f, f"{m}-{n}") for f, methods in METHODS.items() for m in methods for n in (1, 2)]
END_ID = 1
N_DRAFT = 4


def messages(file: Path) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in file.read_text().splitlines() if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def request(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}.json").read_bytes()))


def answer(folder: Path, name: str) -> list[int]:
    told = messages(folder / f"{name}.sse")
    if folder == VLLM:
        return [i for m in told for c in m["choices"] for i in c["token_ids"]]
    return [i for m in told if not m["stop"] for i in m["tokens"]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_vllm(folder)
    return folder


@pytest.fixture(scope="module")
def drafts(exported: Path) -> dict[str, reference.Draft]:
    target = reference.load(exported / "target")
    return {
        "draft_model": reference.model_drafts(reference.load(exported / "drafter")),
        "eagle3": reference.eagle3_drafts(target, reference.load(exported / "eagle3")),
        "mtp": reference.mtp_drafts(reference.load(exported / "mtp")),
    }


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_every_method_gives_the_tokens_of_the_target(
    exported: Path, folder: Path, name: str
) -> None:
    ids, new = request(folder, name)["prompt"], answer(folder, name)
    model = reference.load(exported / ("mtp" if name.startswith("mtp") else "target"))
    assert reference.next_ids(model, ids + new)[len(ids) - 1 : -1] == new
    assert (new[-1] == END_ID, len(new) == 48) == (name.endswith("2"), name.endswith("1"))


def expected(exported: Path, draft: reference.Draft, folder: Path, name: str) -> list[int]:
    """What is accepted of every draft by the weights, the target going on behind the answer."""
    ids, new = request(folder, name)["prompt"], answer(folder, name)
    text = reference.continued(reference.load(exported / "target"), ids + new, N_DRAFT)
    return reference.accepted_per_step(draft, text, len(ids), len(new), N_DRAFT)


@pytest.mark.parametrize("name", ["draft_model-1", "eagle3-1", "eagle3-2", "mtp-1", "mtp-2"])
def test_vllm_accepts_what_the_weights_say(
    exported: Path, drafts: dict[str, reference.Draft], name: str
) -> None:
    told = messages(VLLM / f"{name}.sse")[-1]["metrics"]["speculative_decoding"]
    draft = drafts[name.split("-")[0]]
    assert told["per_step_accepted"] == expected(exported, draft, VLLM, name)


@pytest.mark.parametrize("name", ["draft_model-1", "eagle3-1", "eagle3-2"])
def test_llama_cpp_accepts_what_the_weights_say(
    exported: Path, drafts: dict[str, reference.Draft], name: str
) -> None:
    """Its last draft leaves room for the target's own token within the limit."""
    told = messages(LLAMA_CPP / f"{name}.sse")[-1]["timings"]
    counts = expected(exported, drafts[name.split("-")[0]], LLAMA_CPP, name)
    left = request(LLAMA_CPP, name)["n_predict"] - sum(counts[:-1]) - len(counts)
    assert told["draft_n_accepted"] == sum(counts[:-1]) + min(counts[-1], left - 1)
