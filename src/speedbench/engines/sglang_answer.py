"""SGLang's messages, and the answer that is put together from them.

`engines.sglang` says where these facts come from.
"""

from __future__ import annotations

import msgspec

from speedbench.engines.evidence import Evidence, steps_from_count, steps_from_histogram
from speedbench.engines.openai import Count, Message, Usage
from speedbench.errors import StreamError
from speedbench.records import Chunk, Counts, Response, Tier


class _Spec(msgspec.Struct, frozen=True):
    """What is told of speculation, under every name it has had."""

    spec_verify_ct: Count | None = None
    spec_correct_drafts_histogram: tuple[Count, ...] | None = None
    spec_accept_histogram: tuple[Count, ...] | None = None  # 0.5.11
    spec_num_correct_drafts: Count | None = None
    spec_accepted_drafts: Count | None = None  # 0.5.11
    spec_accept_token_num: Count | None = None  # 0.5.6
    spec_num_proposed_drafts: Count | None = None
    spec_proposed_drafts: Count | None = None  # 0.5.11
    spec_draft_token_num: Count | None = None  # 0.5.6

    @property
    def histogram(self) -> tuple[int, ...]:
        """Steps by how many drafts they accepted; 0.5.6 has none."""
        return self.spec_correct_drafts_histogram or self.spec_accept_histogram or ()

    @property
    def accepted(self) -> int | None:
        """Drafts accepted."""
        names = (
            self.spec_num_correct_drafts,
            self.spec_accepted_drafts,
            self.spec_accept_token_num,
        )
        return next((n for n in names if n is not None), None)

    @property
    def proposed(self) -> int | None:
        """Drafts proposed."""
        names = (
            self.spec_num_proposed_drafts,
            self.spec_proposed_drafts,
            self.spec_draft_token_num,
        )
        return next((n for n in names if n is not None), None)


class _Finish(msgspec.Struct, frozen=True):
    type: str
    message: str | None = None


class _Meta(_Spec, frozen=True, kw_only=True):
    completion_tokens: Count = 0
    prompt_tokens: Count | None = None
    cached_tokens: Count | None = None
    finish_reason: _Finish | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None

    @property
    def text(self) -> str:
        """What is thought, and what is said."""
        return (self.reasoning_content or "") + (self.content or "")


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Extension(msgspec.Struct, frozen=True):
    spec_tokens_details: _Spec | None = None


class SGLangMessage(Message, frozen=True, kw_only=True):
    """A message of either route: ``/generate`` has `meta_info`, the OpenAI one `choices`."""

    text: str | None = None
    output_ids: tuple[Count, ...] | None = None
    meta_info: _Meta | None = None
    choices: tuple[_Choice, ...] = ()
    sglext: _Extension | None = None


class SGLangAnswer:
    """An answer as it is put together, message by message."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.chunks: list[Chunk] = []
        self.ids: list[int] = []
        self.text = ""
        self.n_tokens = 0
        self.usage = Usage()
        self.cached: int | None = None
        self.spec = _Spec()
        self.finish_reason: str | None = None

    def native(self, at_ns: int, message: SGLangMessage, meta: _Meta) -> None:
        """Take a message of ``/generate``."""
        if (finish := meta.finish_reason) is not None:
            self.finish_reason = finish.type
            if finish.type == "abort":
                detail = finish.message or "no reason given"
                raise StreamError("engine_stopped", f"the engine aborted the request: {detail}")
        new = self._growth(meta.completion_tokens)
        ids, cumulative = self._new_ids(message.output_ids, meta.completion_tokens)
        text = message.text or ""
        if cumulative:
            self.text, text = text, text[len(self.text) :]
        if new or text:
            self.chunks.append(Chunk(at_ns=at_ns, n_tokens=new, token_ids=ids, text=text))
        self.n_tokens = meta.completion_tokens
        self.usage = Usage(meta.prompt_tokens, meta.completion_tokens)
        self.cached = meta.cached_tokens if meta.cached_tokens is not None else self.cached
        if meta.spec_verify_ct is not None:
            self.spec = meta

    def _growth(self, n_total: int) -> int:
        if self.n_tokens <= n_total <= self.max_tokens:
            return n_total - self.n_tokens
        raise StreamError(
            "bad_counts",
            f"{self.n_tokens} tokens became {n_total}, of at most {self.max_tokens} asked for",
        )

    def _new_ids(
        self, ids: tuple[int, ...] | None, n_total: int
    ) -> tuple[tuple[int, ...] | None, bool]:
        """Return what ids a message adds, and whether its lists hold all ids so far.

        The two kinds of server cannot be confused: a list as long as the count so far is a
        cumulative one, one as long as the growth is not, and only in the first message are they
        the same.
        """
        if ids is None:
            return None, True
        before = len(self.ids)
        if len(ids) == n_total and list(ids[:before]) == self.ids:
            new, cumulative = ids[before:], True
        elif before + len(ids) == n_total:
            new, cumulative = ids, False
        else:
            raise StreamError(
                "lost_tokens",
                f"{n_total} tokens are counted, {before} were there and a message has {len(ids)}",
            )
        self.ids += new
        return new, cumulative

    def compatible(self, at_ns: int, message: SGLangMessage) -> None:
        """Take a message of the OpenAI route, where running usage counts the tokens of a chunk."""
        new = None
        if message.usage is not None and message.usage.completion_tokens is not None:
            new = self._growth(message.usage.completion_tokens)
            self.usage, self.n_tokens = message.usage, message.usage.completion_tokens
            self.cached = message.usage.cached_tokens
        if message.sglext is not None and message.sglext.spec_tokens_details is not None:
            self.spec = message.sglext.spec_tokens_details
        for choice in message.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
        text = "".join(choice.delta.text for choice in message.choices)
        if text or (new and self.counted):
            self.chunks.append(Chunk(at_ns=at_ns, n_tokens=new, text=text))

    @property
    def counted(self) -> bool:
        """Whether every chunk so far said how many tokens it holds."""
        return all(chunk.n_tokens is not None for chunk in self.chunks)

    def response(self) -> Response:
        """Return the answer with the best evidence that it allows."""
        told = self._evidence()
        tier: Tier = told[0] if told is not None else "none"
        evidence = told[1] if told is not None else None
        return Response(
            chunks=tuple(self.chunks),
            steps=evidence.steps if evidence else (),
            tier=tier,
            n_prefill_tokens=min(1, self.n_tokens) if evidence else None,
            n_input_tokens=self.usage.prompt_tokens,
            n_output_tokens=self.usage.completion_tokens,
            n_cached_tokens=self.cached,
            finish_reason=self.finish_reason,
            counts=self._counts(),
            chunk_check=evidence.check if evidence else None,
        )

    def _counts(self) -> Counts | None:
        spec = self.spec
        if spec.spec_verify_ct is None:
            return None
        histogram = spec.histogram
        at_least = tuple(sum(histogram[i:]) for i in range(1, len(histogram)))
        return Counts(
            drafts=spec.spec_verify_ct,
            drafted=spec.proposed,
            accepted=spec.accepted,
            accepted_at=at_least or None,
            steps=spec.spec_verify_ct,
        )

    def _evidence(self) -> tuple[Tier, Evidence] | None:
        spec, n_steps = self.spec, self.spec.spec_verify_ct
        if n_steps is None and self.n_tokens <= 1 and self.chunks:
            n_steps = 0  # the prefill gave all there is
        if n_steps is None or not self.counted:
            return None
        length = None
        if spec.proposed is not None and n_steps and spec.proposed % n_steps == 0:
            length = spec.proposed // n_steps
        if not spec.histogram:
            evidence = steps_from_count(self.chunks, n_steps, length)
        elif sum(spec.histogram) == n_steps:
            evidence = steps_from_histogram(self.chunks, spec.histogram, length, all_steps=True)
        else:
            raise StreamError(
                "bad_counts", f"{n_steps} steps, and {sum(spec.histogram)} in their histogram"
            )
        return ("C" if evidence.check.passed else "B"), evidence
