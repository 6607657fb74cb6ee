"""A prompt as the sequence of requests it becomes, turn by turn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from speedbench.config import ChatConfig
from speedbench.errors import DataError
from speedbench.records import Answer, Prompt, Request, Sampling
from speedbench.tokenization import ChatTokenizer, Message, hash_ids, hash_messages


@dataclass
class Conversation:
    """Builds the request of each turn from the prompt and the answers before it.

    With a tokenizer, requests hold token ids, and an answer is fed back as the ids the engine gave;
    without one, they hold messages.

    A `chat` with a system prompt puts it before the first turn; its template arguments go to the
    server with messages, and are in the tokenizer already with ids.

    With a `history`, the answers of another run are fed back instead of the engine's own, so that
    every method of a comparison sees the same inputs.  `lap` tells apart the conversations that a
    run of a given duration has about the same prompt.
    """

    prompt: Prompt
    sampling: Sampling
    tokenizer: ChatTokenizer | None
    history: Sequence[Answer] | None = None
    lap: int = 0
    chat: ChatConfig = field(default_factory=ChatConfig)
    _said: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.chat.system is not None:
            self._said.append(("system", self.chat.system))

    def request(self, turn: int, previous: Request | None, answer: Answer | None) -> Request:
        """Return the request of `turn`, given the one before and its answer (None at first)."""
        if self.history is not None and turn > 0:
            answer = self.history[turn - 1]
        user = self.prompt.turns[turn]
        input_ids = None
        if self.tokenizer is not None:
            input_ids = self._input_ids(self.tokenizer, user, previous, answer)
        if answer is not None:
            self._said.append(("assistant", answer.text))
        self._said.append(("user", user))
        messages = tuple(self._said)
        arguments = self.chat.template_args if self.tokenizer is None else {}
        name = f"{self.prompt.id}#{turn}" + (f"+{self.lap}" if self.lap else "")
        return Request(
            id=name,
            prompt_id=self.prompt.id,
            turn=turn,
            input_hash=hash_messages(messages, arguments)
            if input_ids is None
            else hash_ids(input_ids),
            sampling=msgspec.structs.replace(self.sampling, seed=seed_of(name, self.sampling.seed)),
            input_ids=None if input_ids is None else tuple(input_ids),
            messages=messages,
            template_args=arguments,
        )

    def _input_ids(
        self,
        tokenizer: ChatTokenizer,
        user: str,
        previous: Request | None,
        answer: Answer | None,
    ) -> list[int]:
        if previous is None or answer is None:
            return tokenizer.first_turn([*self._said, ("user", user)])
        ids = answer.token_ids or ()
        return tokenizer.next_turn(previous.input_ids or (), ids, self._said, user)


def seed_of(request_id: str, run_seed: int) -> int:
    """Return the sampling seed of one request, 31 bits, the same in every run with that seed.

    One seed for all requests would make their answers depend on the same draws: prompts would no
    longer be independent, and every interval over prompts too narrow.

    >>> seed_of("a#0", 1) == seed_of("a#0", 1) != seed_of("a#1", 1)
    True
    """
    digest = hashlib.sha256(f"{run_seed}:{request_id}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def reject_too_long(
    prompts: Sequence[Prompt],
    tokenizer: ChatTokenizer,
    max_tokens: int,
    max_context: int,
    system: str | None = None,
) -> None:
    """Refuse a prompt that cannot fit the model's context, before anything is measured.

    Only what the user says is known beforehand; answers are counted at their limit.

    Raises
    ------
    DataError
        Naming the first such prompt, its length and the limit.
    """
    for prompt in prompts:
        messages = [m for turn in prompt.turns for m in (("user", turn), ("assistant", ""))][:-1]
        if system is not None:
            messages.insert(0, ("system", system))
        need = len(tokenizer.first_turn(messages)) + max_tokens * len(prompt.turns)
        if need > max_context:
            raise DataError(
                f"prompt {prompt.id!r} needs up to {need} tokens with its answers, and the model's "
                f"context holds {max_context}: leave it out, shorten it, or lower --max-tokens"
            )
