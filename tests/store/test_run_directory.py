"""A run directory belongs to one run and one process, and never shows half a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.conftest import environment

from speedbench import store
from speedbench.errors import CallError, EnvironmentFailedError
from speedbench.records import Prompt
from speedbench.store.files import replacing

CONFIG: dict[str, Any] = {"engine": {"engine": "openai"}, "load": {"concurrency": 1}, "seed": 0}


@contextmanager
def held(path: Path, config: dict[str, Any] = CONFIG, *, resume: bool = False) -> Iterator[Any]:
    directory = store.RunDirectory(path, config, resume=resume)
    try:
        yield directory
    finally:
        directory.release()


def manifest(config: dict[str, Any] = CONFIG) -> store.Manifest:
    return store.Manifest(
        config=config,
        dataset={"name": "mini"},
        engine={"engine": "openai"},
        environment=store.environment(),
        started_at=store.now(),
    )


@pytest.fixture
def occupied(tmp_path: Path) -> Path:
    """A directory in which a run was begun."""
    path = tmp_path / "run"
    with held(path) as directory:
        directory.write_manifest(manifest())
    return path


def refusal(path: Path, config: dict[str, Any] = CONFIG, *, resume: bool = False) -> str:
    with pytest.raises(CallError) as caught, held(path, config, resume=resume):
        pass
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_new_directory_is_taken(tmp_path: Path) -> None:
    with held(tmp_path / "deep" / "er") as directory:
        assert not directory.resumed


def test_another_run_is_refused_and_the_difference_named(occupied: Path) -> None:
    other = {**CONFIG, "load": {"concurrency": 4}}
    for resume in (False, True):
        said = refusal(occupied, other, resume=resume)
        assert "load.concurrency is 1 there and 4 here" in said


def test_the_same_run_needs_resume(occupied: Path) -> None:
    assert "--resume" in refusal(occupied)
    with held(occupied, resume=True) as directory:
        assert directory.resumed


def test_what_the_first_process_wrote_stands_when_it_is_resumed(occupied: Path) -> None:
    before = (occupied / "manifest.json").read_bytes()
    with held(occupied, resume=True) as directory:
        directory.write_manifest(manifest({**CONFIG, "seed": 9}))
    assert (occupied / "manifest.json").read_bytes() == before


def test_a_foreign_directory_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "thesis.tex" in refusal(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_directory_left_before_its_manifest_can_be_taken(tmp_path: Path) -> None:
    with held(tmp_path / "run"):
        pass
    with held(tmp_path / "run") as directory:
        assert not directory.resumed


def test_a_directory_in_use_by_another_process_is_refused_until_that_ends(occupied: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from speedbench import store\n"
        f"taken = store.RunDirectory(Path({str(occupied)!r}), {CONFIG!r}, resume=True)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert "in use" in refusal(occupied, resume=True)
        child.kill()
    with held(occupied, resume=True):
        pass


def test_a_place_that_cannot_be_written_is_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailedError) as caught, held(tmp_path / "file" / "run"):
        pass
    assert caught.value.exit_code == 4


def test_manifest_and_prompts_come_back_as_they_were(tmp_path: Path) -> None:
    prompts = [Prompt(id="a", category="qa", turns=("Grüße\n", "🙂"), difficulty="easy")]
    with held(tmp_path / "run") as directory:
        directory.write_manifest(wanted := manifest())
        directory.write_prompts(prompts)
    assert store.read_manifest(tmp_path / "run") == wanted
    assert store.read_prompts(tmp_path / "run") == {"a": prompts[0]}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "cannot be read"), (b"{}", "cannot be read"), (b"[1", "cannot be read")],
)
def test_a_spoiled_manifest_is_named(content: bytes, said: str, occupied: Path) -> None:
    (occupied / "manifest.json").write_bytes(content)
    with pytest.raises(CallError, match=said):
        store.read_manifest(occupied)


def test_a_directory_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"no manifest\.json"):
        store.read_manifest(tmp_path)


def test_another_schema_version_is_not_read_as_this_one(occupied: Path) -> None:
    path = occupied / "manifest.json"
    later = {**msgspec.json.decode(path.read_bytes()), "schema_version": 99}
    path.write_bytes(msgspec.json.encode(later))
    with pytest.raises(CallError, match="schema 99"):
        store.read_manifest(occupied)


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(EnvironmentFailedError, match="no space left"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_a_run_is_not_finished_on_other_data_than_it_began_with(tmp_path: Path) -> None:
    config = {"engine": {"engine": "openai"}}
    begun = store.Manifest(
        config=config,
        dataset={"name": "mine", "fingerprint": "1"},
        engine={"model": "m"},
        environment={},
        started_at="now",
    )
    directory = store.RunDirectory(tmp_path / "run", config, resume=False)
    directory.write_manifest(begun)
    directory.release()
    again = store.RunDirectory(tmp_path / "run", config, resume=True)
    again.write_manifest(begun)
    changed = msgspec.structs.replace(begun, dataset={"name": "mine", "fingerprint": "2"})
    with pytest.raises(CallError, match=r"dataset\.fingerprint is 1 there and 2 here"):
        again.write_manifest(changed)
    again.release()
