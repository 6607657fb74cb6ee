"""One run on disk.

    RUN/manifest.json       what was asked, of which engine, on which data and machine
    RUN/prompts.jsonl       the prompts of the run, so that the directory stands alone
    RUN/journal/worker-N.journal    what worker N sent and received
    RUN/requests.parquet, chunks.parquet, steps.parquet
    RUN/summary.json
    RUN/counters/           the server's own counters before and after each part of the run
    RUN/engine.log          what a launched engine wrote

A directory belongs to one run: the manifest holds its configuration, and a lock file keeps a second
process out.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from filelock import FileLock, Timeout

from speedbench import __version__
from speedbench.errors import CallError
from speedbench.records import Prompt
from speedbench.store.files import disk_failure, replacing, write_bytes

SCHEMA_VERSION = 2
LEFT_BY_A_FAILED_START = (".lock", "journal", "engine.log", "launch", "prompts.jsonl")
PACKAGES = ("openvino-genai", "openvino", "aiohttp", "numpy", "polars", "tokenizers")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to know what a run measured.

    `client` is what the load client found out about its own error, once the run has ended, and
    `preflight` what was found out about the server before it began.
    """

    config: dict[str, Any]
    dataset: dict[str, Any]
    engine: dict[str, Any]
    environment: dict[str, Any]
    started_at: str
    client: dict[str, Any] = {}
    preflight: list[dict[str, Any]] = []
    schema_version: int = SCHEMA_VERSION
    kind: str = "run"


def environment() -> dict[str, Any]:
    """Describe this machine and the packages whose version can move a number."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "speedbench": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "packages": versions,
    }


def now() -> str:
    """Return the time of day, for people; no duration is computed from it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunDirectory:
    """A run directory that this process holds."""

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool) -> None:
        """Take the directory.

        Raises
        ------
        CallError
            When it holds another run, holds this run and `resume` is False, or is in use.
        EnvironmentFailedError
            When it cannot be created.
        """
        self.path = path
        try:
            (path / "journal").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_failure(path, error) from error
        self._lock = FileLock(path / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise CallError(f"{path} is in use by another run that is still going") from error
        except OSError as error:
            raise disk_failure(path / ".lock", error) from error
        try:
            self.resumed = self._check_occupant(config, resume)
        except CallError:
            self.release()
            raise

    def journal(self, worker: int) -> Path:
        """Return where the journal of one worker is."""
        return self.path / "journal" / f"worker-{worker}.journal"

    @property
    def journals(self) -> list[Path]:
        """The journals that there are."""
        return journals(self.path)

    @property
    def engine_log(self) -> Path:
        """What a launched engine writes to its error output."""
        return self.path / "engine.log"

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest; of a run that is resumed, the first one stands.

        Raises
        ------
        CallError
            When data or engine are no longer those that the run began with.
        """
        if not self.resumed:
            write_bytes(self.path / "manifest.json", _json(manifest))
            return
        found = read_manifest(self.path)
        for what in ("dataset", "engine"):
            then, here = getattr(found, what), getattr(manifest, what)
            if then != msgspec.json.decode(msgspec.json.encode(here)):
                raise CallError(
                    f"{self.path} was begun with another {what} "
                    f"({difference(then, here, what)}): it cannot be finished, start a new run"
                )

    def write_counters(self, when: str, page: bytes) -> None:
        """Keep what a server's counters say ``before`` or ``after`` a part of the run."""
        folder = self.path / "counters"
        folder.mkdir(exist_ok=True)
        parts = len(list(folder.glob("*-before.txt")))
        number = parts if when == "before" else parts - 1
        write_bytes(folder / f"{number:04d}-{when}.txt", page)

    def write_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Keep the prompts with the run."""
        lines = b"".join(msgspec.json.encode(prompt) + b"\n" for prompt in prompts)
        write_bytes(self.path / "prompts.jsonl", lines)

    def release(self) -> None:
        """Let others have the directory."""
        self._lock.release()

    def _check_occupant(self, config: dict[str, Any], resume: bool) -> bool:
        """Return whether the directory holds an earlier part of this very run."""
        if not (self.path / "manifest.json").exists():
            foreign = [
                entry.name
                for entry in self.path.iterdir()
                if entry.name not in LEFT_BY_A_FAILED_START
            ]
            if foreign:
                raise CallError(
                    f"{self.path} is not empty ({foreign[0]} is in it) and holds no run: choose "
                    "another --output"
                )
            return False
        found = read_manifest(self.path).config
        if msgspec.json.decode(msgspec.json.encode(config)) != found:
            raise CallError(
                f"{self.path} holds another run ({difference(found, config)}): choose another "
                "--output"
            )
        if not resume:
            raise CallError(
                f"{self.path} holds this run already: add --resume to finish it, or choose another "
                "--output"
            )
        return True


def write_client(path: Path, client: dict[str, Any]) -> None:
    """Add the client's account of itself to the manifest of a run."""
    manifest = msgspec.structs.replace(read_manifest(path), client=client)
    write_bytes(path / "manifest.json", _json(manifest))


def write_tables(path: Path, **tables: pl.DataFrame) -> None:
    """Write each frame to ``path/<name>.parquet``."""
    for name, table in tables.items():
        with replacing(path / f"{name}.parquet") as temporary:
            table.write_parquet(temporary)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a run directory.

    Raises
    ------
    CallError
        When `path` is no run directory, or one of another schema version.
    """
    try:
        manifest = msgspec.json.decode((path / "manifest.json").read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise CallError(f"{path} is no run directory: it holds no manifest.json") from error
    except msgspec.DecodeError as error:
        raise CallError(f"{path / 'manifest.json'} cannot be read: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise CallError(
            f"{path} was written with schema {manifest.schema_version}, this speedbench reads "
            f"{SCHEMA_VERSION}: use the version named in its manifest"
        )
    return manifest


def journals(path: Path) -> list[Path]:
    """Return the journals of a run, by the number of their worker."""
    found = (path / "journal").glob("worker-*.journal")
    return sorted(found, key=lambda journal: int(journal.stem.partition("-")[2]))


def counters(path: Path) -> list[tuple[str, str | None]]:
    """Return the pages of a server's counters: before and after each part of a run.

    The second of a part is None where the run was interrupted in it.
    """
    found = []
    for before in sorted((path / "counters").glob("*-before.txt")):
        after = before.with_name(before.name.replace("before", "after"))
        text = after.read_text(errors="replace") if after.exists() else None
        found.append((before.read_text(errors="replace"), text))
    return found


def read_prompts(path: Path) -> dict[str, Prompt]:
    """Return the prompts of a run by id."""
    lines = (path / "prompts.jsonl").read_bytes().splitlines()
    prompts = [msgspec.json.decode(line, type=Prompt) for line in lines]
    return {prompt.id: prompt for prompt in prompts}


def difference(found: Any, wanted: Any, where: str = "") -> str:
    """Say in a few words where two configurations differ first.

    >>> difference({"load": {"concurrency": 1}}, {"load": {"concurrency": 4}})
    'load.concurrency is 1 there and 4 here'
    """
    wanted = msgspec.json.decode(msgspec.json.encode(wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                return difference(found.get(key), wanted.get(key), f"{where}.{key}".lstrip("."))
    return f"{where} is {found} there and {wanted} here"


def _processor() -> str:
    """Return the processor's name; platform.processor() is empty on most Linux systems."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
