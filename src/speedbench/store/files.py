"""Writing files so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from speedbench.errors import CallError, EnvironmentFailedError

Record = TypeVar("Record", bound=msgspec.Struct)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; put it in place when the block succeeds.

    Raises
    ------
    EnvironmentFailedError
        When the disk is full or the directory cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise disk_failure(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: msgspec.Struct) -> None:
    """Write a record to `path` as indented JSON, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def read_json(path: Path, kind: type[Record]) -> Record:
    """Read a record of `kind` from `path`.

    Raises
    ------
    CallError
        When the file is missing or holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError as error:
        raise CallError(
            f"{path.parent} holds no {path.name}: is it the right directory?"
        ) from error
    except msgspec.DecodeError as error:
        raise CallError(f"{path} cannot be read: {error}") from error


def disk_failure(path: Path, error: OSError) -> EnvironmentFailedError:
    """Return the error that says why `path` cannot be written, and what to do."""
    if error.errno == errno.ENOSPC:
        reason = "no space left on the disk; free some and go on with --resume"
    else:
        reason = f"{error.strerror or error}; check the directory or choose another with --output"
    return EnvironmentFailedError(f"cannot write {path}: {reason}")
