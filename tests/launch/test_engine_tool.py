"""tools/engines.py makes an engine once, whole, and by one run at a time."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from tools import engines

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its locks are a POSIX matter")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "speedbench" / "engines"


def making(made: list[Path]):
    def make(directory: Path) -> engines.Found:
        assert list(directory.iterdir()) == [], "nothing of an earlier attempt is left"
        made.append(directory)
        (directory / "engine").write_text("complete")
        return {"program": str(directory / "engine"), "version": "7"}

    return make


def test_one_is_made_once_for_each_recipe(cache: Path) -> None:
    made: list[Path] = []
    first = engines._made("acme", "7", ["lock", "-O2"], making(made))
    assert engines._made("acme", "7", ["lock", "-O2"], making(made)) == first
    assert [path.parent for path in made] == [cache]
    other = engines._made("acme", "7", ["lock", "-O3"], making(made))
    assert other != first
    assert len(made) == 2


def test_one_that_was_interrupted_is_made_again() -> None:
    def interrupted(directory: Path) -> engines.Found:
        (directory / "engine").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engines._made("acme", "7", [], interrupted)
    made: list[Path] = []
    found = engines._made("acme", "7", [], making(made))
    assert Path(found["program"]).read_text() == "complete"


def test_two_runs_at_once_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    other_waits = Event()
    monkeypatch.setattr(
        engines, "say", lambda text: other_waits.set() if "waiting" in text else None
    )

    def slowly(directory: Path) -> engines.Found:
        assert other_waits.wait(30)
        return making(made)(directory)

    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(engines._made, "acme", "7", [], slowly) for _ in range(2)]
    assert runs[0].result() == runs[1].result()
    assert len(made) == 1


def test_a_server_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "llama-server"
    server.write_text(
        '#!/bin/sh\n[ "$1" = --help ] && echo "--spec-type T"\n'
        '[ "$1" = --version ] && echo "version: 1.2 (build 3)" >&2\n'
        "exit 0\n"
    )
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = engines.find("llama_cpp")
    assert found == {"server": str(server), "program": str(server), "version": "1.2 (build 3)"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("llama_cpp", "no llama-server on PATH, and no C++ compiler to build one: install"),
        ("vllm", "its build for CPUs is made for Linux on x86-64 alone"),
    ],
)
def test_one_that_cannot_be_had_is_skipped_with_the_reason(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert engines.find(name)["skipped"].startswith(said)


def test_what_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    program = "print('ERROR: No matching distribution for acme==7'); raise SystemExit(1)"
    said = r"failed: ERROR: No matching distribution for acme==7 \(all of it: .*log\)"
    with pytest.raises(engines.UnavailableError, match=said):
        engines._run("acme", [sys.executable, "-c", program], tmp_path)


def test_the_last_line_printed_is_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "ENGINES", {"acme": lambda: {"program": "a b", "version": "7"}})
    output = tmp_path / "build" / "found.json"
    monkeypatch.setattr(sys, "argv", ["engines.py", "--output", str(output)])
    engines.main()
    answer = {"acme": {"program": "a b", "version": "7"}}
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == answer
    assert json.loads(output.read_text()) == answer
