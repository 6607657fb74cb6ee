"""A tokenizer with its chat template, from a directory in Hugging Face layout."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from speedbench.errors import DataError

Message = tuple[str, str]
"""(role, content)."""

# Stands for an answer whose ids are known, while the template is rendered around it.  Private-use
# characters: no prompt holds them, and no template treats them specially.
_ANSWER_MARK = "\ue000\ue001\ue002"


class ChatTokenizer:
    """Renders conversations and encodes them; BOS comes from the template, exactly once."""

    def __init__(
        self, tokenizer: Tokenizer, template: str, special: dict[str, str], digest: str
    ) -> None:
        # As transformers sets it up, so that any model's template means here what it means there.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        self._template = environment.from_string(template)
        self._tokenizer = tokenizer
        self._special = special
        self.fingerprint = digest

    @classmethod
    def from_directory(cls, directory: Path) -> ChatTokenizer:
        """Load ``tokenizer.json`` and the template of ``tokenizer_config.json``.

        Raises
        ------
        DataError
            When a file is missing or holds no chat template.
        """
        try:
            raw = (directory / "tokenizer.json").read_bytes()
            config: dict[str, Any] = json.loads((directory / "tokenizer_config.json").read_bytes())
        except FileNotFoundError as error:
            raise DataError(
                f"{directory} is no tokenizer directory: {error.filename} is missing"
            ) from error
        if not (template := config.get("chat_template")):
            raise DataError(f"{directory / 'tokenizer_config.json'} holds no chat_template")
        special = {
            name: value if isinstance(value, str) else value["content"]
            for name, value in config.items()
            if name.endswith("_token") and value
        }
        digest = hashlib.sha256(raw + template.encode()).hexdigest()[:16]
        return cls(Tokenizer.from_buffer(raw), template, special, digest)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, special tokens recognised, none added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without special tokens."""
        return self._tokenizer.decode(list(ids))

    def first_turn(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of a conversation, up to where the assistant's answer begins."""
        return self.encode(self._render(messages))

    def next_turn(
        self,
        previous_ids: Sequence[int],
        answer_ids: Sequence[int],
        messages: Sequence[Message],
        user: str,
    ) -> list[int]:
        """Return the ids of the next turn, with the engine's own answer ids spliced in.

        Re-encoding an answer's text need not give the ids that the engine produced, and the engine
        would then see a history it never wrote.

        Parameters
        ----------
        previous_ids, answer_ids
            What was sent for the turn before, and what came back.
        messages
            The conversation before the answer.
        user
            What the user says next.
        """
        marked = [*messages, ("assistant", _ANSWER_MARK), ("user", user)]
        after = self._render(marked).partition(_ANSWER_MARK)[2]
        continuation = self.encode(after)
        if answer_ids and continuation[:1] == list(answer_ids[-1:]):
            continuation = continuation[1:]  # the answer ended with the end-of-turn token itself
        return [*previous_ids, *answer_ids, *continuation]

    def _render(self, messages: Sequence[Message]) -> str:
        try:
            return self._template.render(
                messages=[{"role": role, "content": content} for role, content in messages],
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._special,
            )
        except TemplateError as error:
            raise DataError(
                f"the chat template cannot render this conversation: {error}"
            ) from error


def _refuse(message: str) -> None:
    """Stand for the function by which a template rejects a conversation."""
    raise TemplateError(message)


def hash_ids(ids: Sequence[int]) -> str:
    """Return a short name for an exact sequence of token ids.

    >>> hash_ids([1, 2, 3]) == hash_ids((1, 2, 3)) != hash_ids([3, 2, 1])
    True
    """
    return hashlib.sha256(array("q", ids).tobytes()).hexdigest()[:16]


def hash_messages(messages: Sequence[Message]) -> str:
    """Return a short name for an exact sequence of messages."""
    return hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:16]
