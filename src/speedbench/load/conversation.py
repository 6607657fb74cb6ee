"""A prompt as the sequence of requests it becomes, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from speedbench.errors import DataError
from speedbench.records import Prompt, Request, Response, Sampling
from speedbench.tokenization import ChatTokenizer, Message, hash_ids, hash_messages


@dataclass
class Conversation:
    """Builds the request of each turn from the prompt and the engine's own answers.

    With a tokenizer, requests hold token ids, and an answer is fed back as the ids the engine gave;
    without one, they hold messages.
    """

    prompt: Prompt
    sampling: Sampling
    tokenizer: ChatTokenizer | None
    _history: list[Message] = field(default_factory=list)

    def request(self, turn: int, previous: Request | None, answer: Response | None) -> Request:
        """Return the request of `turn`, given the one before and its answer (None at first)."""
        user = self.prompt.turns[turn]
        input_ids = None
        if self.tokenizer is not None:
            input_ids = self._input_ids(self.tokenizer, user, previous, answer)
        if answer is not None:
            self._history.append(("assistant", "".join(chunk.text for chunk in answer.chunks)))
        self._history.append(("user", user))
        messages = tuple(self._history)
        return Request(
            id=f"{self.prompt.id}#{turn}",
            prompt_id=self.prompt.id,
            turn=turn,
            input_hash=hash_messages(messages) if input_ids is None else hash_ids(input_ids),
            sampling=self.sampling,
            input_ids=None if input_ids is None else tuple(input_ids),
            messages=messages,
        )

    def _input_ids(
        self,
        tokenizer: ChatTokenizer,
        user: str,
        previous: Request | None,
        answer: Response | None,
    ) -> list[int]:
        if previous is None or answer is None:
            return tokenizer.first_turn([("user", user)])
        answer_ids = [i for chunk in answer.chunks for i in chunk.token_ids or ()]
        return tokenizer.next_turn(previous.input_ids or (), answer_ids, self._history, user)


def reject_too_long(
    prompts: Sequence[Prompt], tokenizer: ChatTokenizer, max_tokens: int, max_context: int
) -> None:
    """Refuse a prompt that cannot fit the model's context, before anything is measured.

    Only what the user says is known beforehand; answers are counted at their limit.

    Raises
    ------
    DataError
        Naming the first such prompt, its length and the limit.
    """
    for prompt in prompts:
        messages = [("user", turn) for turn in prompt.turns]
        need = len(tokenizer.first_turn(messages)) + max_tokens * len(prompt.turns)
        if need > max_context:
            raise DataError(
                f"prompt {prompt.id!r} needs up to {need} tokens with its answers, and the model's "
                f"context holds {max_context}: leave it out, shorten it, or lower --max-tokens"
            )
