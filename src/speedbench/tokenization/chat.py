"""A tokenizer with its chat template: conversations in, token ids out."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jinja2 import TemplateError

from speedbench.errors import DataError
from speedbench.tokenization.template import ChatTemplate

Message = tuple[str, str]
"""(role, content)."""

# Stands for an answer whose ids are known, while the template is rendered around it.  Private-use
# characters: no prompt holds them, and no template treats them specially.
_ANSWER_MARK = "\ue000\ue001\ue002"


class Encoder(Protocol):
    """What turns text into ids and back."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, special tokens recognised, none added."""
        ...

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """Return the text of `ids`."""
        ...

    @property
    def first_id(self) -> int | None:
        """The id that this tokenizer itself puts before every text (BOS); None for none."""
        ...


class Origin(NamedTuple):
    """Where a tokenizer comes from, and what it is by content."""

    source: str
    revision: str | None
    tokenizer_hash: str
    template_hash: str


class ChatTokenizer:
    """Renders conversations and encodes them, BOS exactly once.

    BOS comes from the template.  Where the template writes none though the tokenizer begins every
    text with one, it is put there: the model has never seen a text without.
    """

    def __init__(
        self,
        encoder: Encoder,
        template: ChatTemplate,
        origin: Origin,
        template_args: Mapping[str, Any] | None = None,
    ) -> None:
        self._encoder = encoder
        self._template = template
        self._arguments = dict(template_args or {})
        self.origin = origin
        both = origin.tokenizer_hash + origin.template_hash + json.dumps(self._arguments)
        self.fingerprint = hashlib.sha256(both.encode()).hexdigest()[:16]

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest says about it."""
        return {**self.origin._asdict(), "template_args": self._arguments}

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, special tokens recognised, none added."""
        return self._encoder.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without special tokens."""
        return self._encoder.decode(ids, skip_special=True)

    def decode_all(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens written out."""
        return self._encoder.decode(ids, skip_special=False)

    def first_turn(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of a conversation, up to where the assistant's answer begins."""
        ids = self.encode(self._render(messages))
        bos = self._encoder.first_id
        return ids if bos is None or ids[:1] == [bos] else [bos, *ids]

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
            return self._template.render(messages, self._arguments)
        except (TemplateError, TypeError, ValueError) as error:
            raise DataError(
                f"the chat template cannot render this conversation: {error}"
            ) from error


def hash_ids(ids: Sequence[int]) -> str:
    """Return a short name for an exact sequence of token ids.

    >>> hash_ids([1, 2, 3]) == hash_ids((1, 2, 3)) != hash_ids([3, 2, 1])
    True
    """
    return hashlib.sha256(array("q", ids).tobytes()).hexdigest()[:16]


def hash_messages(messages: Sequence[Message], arguments: Mapping[str, Any] | None = None) -> str:
    """Return a short name for an exact sequence of messages, and what the template is told."""
    told: list[Any] = [list(messages), dict(arguments)] if arguments else list(messages)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
