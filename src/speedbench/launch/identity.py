"""What exactly is being measured: models by content, the machine, the container."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

WEIGHTS = ("*.safetensors", "*.gguf", "*.bin")
HEADER_BYTES = 1 << 20
"""So much of each file of weights is read: names, shapes and offsets of its tensors are there."""
QUERY_TIMEOUT_S = 10.0


def model_identity(name: str | None) -> dict[str, Any] | None:
    """Return what a model is: a fingerprint of its content, or its hub id with the local revision.

    The fingerprint of a directory covers ``config.json``, the weight index, and of every file of
    weights its size and its first MiB, which holds names, shapes and offsets of the tensors.  It
    tells models and revisions apart, and reads megabytes instead of gigabytes; two fine-tunes of
    one model that differ in values alone are told apart only if they differ in the first MiB.

    Parameters
    ----------
    name
        A directory, a file, or a hub id; None gives None.
    """
    if name is None:
        return None
    path = Path(name)
    if path.exists():
        files = [path] if path.is_file() else _files(path)
        return {"path": str(path), "fingerprint": _fingerprint(files), "files": len(files)}
    return {"hub_id": name, "revision": _cached_revision(name)}


def accelerators() -> list[dict[str, str]]:
    """Return the GPUs of this machine with their driver, as nvidia-smi names them."""
    if shutil.which("nvidia-smi") is None:
        return []
    fields = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm")
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=QUERY_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]


def container() -> dict[str, str] | None:
    """Return the container that this process runs in, and its image where that is told.

    Podman writes the image into ``/run/.containerenv``; Docker tells nobody inside, so whoever
    builds or starts the image may say it in ``SPEEDBENCH_CONTAINER_IMAGE``.
    """
    image = os.environ.get("SPEEDBENCH_CONTAINER_IMAGE")
    podman, docker = Path("/run/.containerenv"), Path("/.dockerenv")
    if podman.exists():
        lines = (line.partition("=") for line in podman.read_text().splitlines())
        named = {key: value.strip('"') for key, _, value in lines}
        return {"runtime": "podman", "image": image or named.get("image", "")}
    if docker.exists() or image:
        return {"runtime": "docker" if docker.exists() else "unknown", "image": image or ""}
    return None


def _files(directory: Path) -> list[Path]:
    named = [directory / "config.json", *directory.glob("*.index.json")]
    weights = [path for pattern in WEIGHTS for path in directory.glob(pattern)]
    return sorted(path for path in {*named, *weights} if path.is_file())


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            digest.update(file.read(HEADER_BYTES))
    return digest.hexdigest()[:16]


def _cached_revision(hub_id: str) -> str | None:
    """Return the commit that this machine's cache of the hub holds as main; None for none."""
    cache = os.environ.get("HF_HUB_CACHE")
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    root = Path(cache) if cache else home / "hub"
    reference = root / f"models--{hub_id.replace('/', '--')}" / "refs" / "main"
    return reference.read_text().strip() if reference.is_file() else None
