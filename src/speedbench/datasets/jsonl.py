"""Prompts from a JSONL file: the `mini` set in the package, or a file of one's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec

from speedbench.errors import DataError, UnknownNameError
from speedbench.records import CATEGORIES, Prompt

PACKAGED = ("mini",)
PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"
"""How restricted rows of nvidia/SPEED-Bench begin until they are resolved."""


@dataclass(frozen=True)
class Dataset:
    """Prompts in file order, and what identifies exactly these."""

    name: str
    fingerprint: str
    prompts: tuple[Prompt, ...]


def load(source: str) -> Dataset:
    """Load the packaged set called `source`, or the JSONL file at that path.

    Each line holds ``turns`` (list of strings) and ``category``, and may hold ``id`` (or
    ``question_id``), ``subcategory`` (or ``sub_category``), ``difficulty`` and ``language``.

    Raises
    ------
    UnknownNameError
        For a name that is neither a packaged set nor a file.
    DataError
        For a line that is no prompt, with file and line number.

    Examples
    --------
    >>> len(load("mini").prompts)
    110
    """
    path = Path(source)
    if source in PACKAGED:
        raw = (resources.files(__package__) / f"{source}.jsonl").read_bytes()
    elif path.is_file():
        raw = path.read_bytes()
    elif path.suffix or "/" in source:
        raise DataError(f"no such data file: {source}; give a JSONL file or one of {PACKAGED}")
    else:
        raise UnknownNameError("data set", source, PACKAGED)
    prompts = tuple(
        _prompt(line, f"{source}:{number}")
        for number, line in enumerate(raw.split(b"\n"), start=1)
        if line.strip()
    )
    if not prompts:
        raise DataError(f"{source} holds no prompt")
    _reject_duplicates(prompts, source)
    return Dataset(path.stem, hashlib.sha256(raw).hexdigest()[:16], prompts)


class _Line(msgspec.Struct, frozen=True):
    """A line of a file, under speedbench's names or those of nvidia/SPEED-Bench."""

    turns: tuple[str, ...]
    category: str
    id: str | int | None = None
    question_id: str | int | None = None
    subcategory: str | None = None
    sub_category: str | None = None
    difficulty: str | int | None = None
    language: str | None = None


def _prompt(line: bytes, where: str) -> Prompt:
    try:
        row = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{where}: not a JSON object with 'turns' and 'category' ({error})"
        ) from error
    if not row.turns or not all(turn.strip() for turn in row.turns):
        raise DataError(f"{where}: 'turns' must be a list of non-empty strings")
    if row.turns[0].startswith(PLACEHOLDER):
        raise DataError(
            f"{where}: this row holds the placeholder of nvidia/SPEED-Bench, not a prompt; resolve "
            "it with NVIDIA's prepare_data.py (Model-Optimizer, examples/specdec_bench) first"
        )
    if row.category not in CATEGORIES:
        raise DataError(f"{where}: {UnknownNameError('category', row.category, CATEGORIES)}")
    identifier = row.id if row.id is not None else row.question_id
    return Prompt(
        id=where if identifier in (None, "") else str(identifier),
        category=row.category,
        subcategory=row.subcategory or row.sub_category,
        difficulty=None if row.difficulty is None else str(row.difficulty),
        language=row.language,
        turns=row.turns,
    )


def _reject_duplicates(prompts: tuple[Prompt, ...], source: str) -> None:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise DataError(f"{source}: the id {prompt.id!r} occurs twice; ids must be unique")
        seen.add(prompt.id)
