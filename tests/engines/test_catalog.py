"""Engines are found by name: ours, and those of other packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from speedbench.engines import CATALOG, engine
from speedbench.errors import CallError, UnknownNameError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution on the path that offers two engines, one of which cannot be loaded."""
    (tmp_path / "acme_engine.py").write_text(
        "from speedbench.engines.openai import OpenAIEngine\n\n\n"
        "class Acme(OpenAIEngine):\n    name = 'acme'\n"
    )
    information = tmp_path / "acme_engine-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-engine\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        "[speedbench.engines]\nacme = acme_engine:Acme\nbroken = acme_engine:Absent\n"
        "vllm = acme_engine:Acme\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_engine", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", CATALOG)
def test_an_engine_bears_the_name_it_is_called_by(name: str) -> None:
    assert engine(name).name == name


def test_another_package_offers_an_engine_by_entry_point(package: Path) -> None:
    assert engine("acme").name == "acme"


def test_no_package_takes_the_place_of_ours(package: Path) -> None:
    assert type(engine("vllm")).__module__ == "speedbench.engines.vllm"


def test_one_that_cannot_be_loaded_is_said_with_its_place(package: Path) -> None:
    with pytest.raises(CallError, match="offered by 'acme_engine:Absent', which cannot be loaded"):
        engine("broken")


def test_an_unknown_name_lists_all_and_the_nearest(package: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'acme'\? Known: .*vllm.*acme"):
        engine("acmee")


def test_an_engine_of_another_package_is_measured_by_its_name(
    package: Path, server: object, speedbench: object
) -> None:
    done = speedbench(  # type: ignore[operator]
        *("run", "--engine", "acme", "--base-url", server.base_url),  # type: ignore[attr-defined]
        *("--num-prompts", "1", "--max-turns", "1"),
    )
    assert done.code == 0, done.stderr
