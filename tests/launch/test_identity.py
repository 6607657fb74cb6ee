"""A model is known by its content, or by its hub id and the revision that is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from speedbench.launch import container, model_identity
from speedbench.launch.identity import HEADER_BYTES, accelerators


def model(folder: Path, *, head: bytes = b"head", tail: bytes = b"tail") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(head.ljust(HEADER_BYTES, b"\0") + tail)
    (folder / "README.md").write_text("nothing to do with it")
    return folder


def fingerprint(path: Path) -> str:
    found = model_identity(str(path))
    assert found is not None
    return str(found["fingerprint"])


def test_equal_content_is_equal_wherever_it_lies(tmp_path: Path) -> None:
    one, two = model(tmp_path / "a"), model(tmp_path / "b")
    (two / "README.md").write_text("another word")
    assert fingerprint(one) == fingerprint(two)


@pytest.mark.parametrize("change", ["config", "head", "size"])
def test_another_configuration_head_or_size_is_another_model(change: str, tmp_path: Path) -> None:
    one, two = model(tmp_path / "a"), model(tmp_path / "b")
    if change == "config":
        (two / "config.json").write_text('{"model_type": "qwen2"}')
    weights = two / "model.safetensors"
    if change == "head":
        weights.write_bytes(b"HEAD" + weights.read_bytes()[4:])
    if change == "size":
        weights.write_bytes(weights.read_bytes() + b"!")
    assert fingerprint(one) != fingerprint(two)


def test_a_single_file_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    found = model_identity(str(tmp_path / "m.gguf"))
    assert found is not None
    assert found["files"] == 1


def test_a_hub_id_comes_with_the_revision_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert model_identity("org/model") == {"hub_id": "org/model", "revision": None}
    reference = tmp_path / "models--org--model" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text("0123abc\n")
    assert model_identity("org/model") == {"hub_id": "org/model", "revision": "0123abc"}
    assert model_identity(None) is None


def test_an_image_is_named_by_whoever_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEEDBENCH_CONTAINER_IMAGE", "image:tag")
    found = container()
    assert found is not None
    assert found["image"] == "image:tag"


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name on PATH, which answers as driver 570 does."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 570.1, 81559 MiB, 700.00 W, 1980 MHz'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert accelerators() == [
        {
            "name": "NVIDIA H100",
            "driver_version": "570.1",
            "memory.total": "81559 MiB",
            "power.limit": "700.00 W",
            "clocks.max.sm": "1980 MHz",
        }
    ]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert accelerators() == []
