"""Where tokenizers come from: a directory in Hugging Face layout, or a hub id at a revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from speedbench.errors import CallError, DataError, EngineError
from speedbench.tokenization.chat import ChatTokenizer, Origin
from speedbench.tokenization.template import ChatTemplate

FILES = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
]
SLOW_FILES = ["*.model", "*.tiktoken", "vocab.*", "merges.txt", "added_tokens.json", "*.py"]


def chat_tokenizer(
    source: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    template_args: Mapping[str, Any] | None = None,
) -> ChatTokenizer:
    """Return the tokenizer and chat template of a model.

    Parameters
    ----------
    source
        A directory, or the id of a model on the hub (extra ``hub``).
    revision
        Of a hub id: branch, tag or commit.  The commit it stands for is what is written down.
    trust_remote_code
        Let a tokenizer run code of its own (extra ``transformers``); without it such a tokenizer is
        refused.
    template_args
        What the chat template takes besides the messages, for example ``enable_thinking``.

    Raises
    ------
    CallError
        For a source that is neither, or an extra that is not installed.
    DataError
        For a tokenizer that lacks a file or a template.
    EngineError
        When the hub cannot be reached or refuses.
    """
    directory, commit = Path(source), None
    if not directory.is_dir():
        directory, commit = _from_hub(source, revision, slow=trust_remote_code)
    elif revision is not None:
        raise CallError(f"--tokenizer-revision {revision}: {source} is a directory, and has none")
    return from_directory(
        directory,
        source=source,
        revision=commit,
        trust_remote_code=trust_remote_code,
        template_args=template_args,
    )


def from_directory(
    directory: Path,
    *,
    source: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    template_args: Mapping[str, Any] | None = None,
) -> ChatTokenizer:
    """Load ``tokenizer.json``, ``tokenizer_config.json`` and the chat template of a directory.

    Raises
    ------
    DataError
        When a file is missing or does not parse, or there is no chat template.
    """
    config = _json(directory / "tokenizer_config.json")
    special = _special_tokens({**_json_if_there(directory / "special_tokens_map.json"), **config})
    template = _template(directory, config)
    if trust_remote_code:
        encoder: _Fast | _Remote = _Remote(directory)
        files = {path for pattern in FILES + SLOW_FILES for path in directory.glob(pattern)}
        tokenizer_hash = _hash(b"".join(_bytes(path) for path in sorted(files)))
    else:
        raw = _read(directory / "tokenizer.json")
        encoder = _Fast(_tokenizer(directory, raw))
        tokenizer_hash = _hash(raw)
    origin = Origin(source or str(directory), revision, tokenizer_hash, _hash(template.encode()))
    return ChatTokenizer(encoder, ChatTemplate(template, special), origin, template_args)


class _Fast:
    """A tokenizer that is a file."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        own = tokenizer.encode("", add_special_tokens=True).ids
        self.first_id: int | None = own[0] if own else None

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)


class _Remote:
    """A tokenizer that is code, which transformers loads and runs."""

    def __init__(self, directory: Path) -> None:
        if find_spec("transformers") is None:
            raise CallError(
                "--trust-remote-code: needs transformers, which is not installed: "
                "pip install 'speedbench[transformers]'"
            )
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=True)
        own = self._tokenizer("")["input_ids"]
        self.first_id: int | None = own[0] if own else None

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special))


def _from_hub(source: str, revision: str | None, *, slow: bool) -> tuple[Path, str]:
    """Fetch the tokenizer's files, and return where they are and the commit they are of."""
    if source.count("/") > 1 or source.startswith((".", "/", "~")):
        raise CallError(f"--tokenizer {source}: no such directory")
    if find_spec("huggingface_hub") is None:
        raise CallError(
            f"--tokenizer {source}: no such directory; if it is a hub id, fetching it needs "
            "huggingface_hub: pip install 'speedbench[hub]'"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = snapshot_download(
            source, revision=revision, allow_patterns=FILES + (SLOW_FILES if slow else [])
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise EngineError(
            f"--tokenizer {source}: cannot be fetched from the hub ({reason}); give a directory "
            "with its files instead"
        ) from error
    return Path(path), Path(path).name  # a snapshot's folder bears its commit's name


def _template(directory: Path, config: Mapping[str, Any]) -> str:
    """Return the chat template: the file of its own first, as transformers 5 does."""
    path = directory / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    if not found:
        raise DataError(
            f"{directory} holds no chat template, neither chat_template.jinja nor chat_template in "
            "tokenizer_config.json: a base model has none; give the tokenizer of a chat model"
        )
    return str(found)


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else value["content"]
        for name, value in config.items()
        if name.endswith("_token") and value and isinstance(value, str | dict)
    }


def _tokenizer(directory: Path, raw: bytes) -> Tokenizer:
    try:
        return Tokenizer.from_buffer(raw)
    except ValueError as error:
        raise DataError(f"{directory / 'tokenizer.json'} is no tokenizer: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        hint = ""
        if path.name == "tokenizer.json":
            hint = "; a tokenizer that is code needs --trust-remote-code"
        raise DataError(
            f"{path.parent} is no tokenizer directory: {path.name} is missing{hint}"
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no object")
    return found


def _json_if_there(path: Path) -> dict[str, Any]:
    return _json(path) if path.exists() else {}


def _bytes(path: Path) -> bytes:
    return path.name.encode() + path.read_bytes() if path.is_file() else b""


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
