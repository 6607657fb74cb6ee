"""Chat templates, in the environment that transformers gives them.

As of transformers 5.23 (utils/chat_template_utils.py): a sandboxed Jinja environment with
``trim_blocks`` and ``lstrip_blocks``, loop controls, ``raise_exception``, ``strftime_now``, a
``tojson`` that keeps non-ASCII text, and a ``generation`` block that marks the assistant's part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from speedbench.errors import DataError


class ChatTemplate:
    """A template with the special tokens that it may write.

    >>> template = ChatTemplate("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}",
    ...                         {"bos_token": "<s>"})
    >>> template.render([("user", "Hello")], {})
    '<s>Hello'
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        *,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: now().strftime(form)
        environment.filters["tojson"] = _tojson
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise DataError(f"the chat template is no Jinja template: {error}") from error
        self._special_tokens = dict(special_tokens)

    def render(self, messages: Sequence[tuple[str, str]], arguments: Mapping[str, Any]) -> str:
        """Return the text of a conversation, up to where the assistant's answer begins.

        Raises
        ------
        jinja2.TemplateError
            When the template refuses the conversation, or cannot be carried out.
        """
        return self._template.render(
            messages=[{"role": role, "content": content} for role, content in messages],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **{**self._special_tokens, **arguments},
        )


class _Generation(Extension):
    """Renders what a ``generation`` block holds; where it lies is of no use here."""

    tags = {"generation"}  # noqa: RUF012  (the base class declares it so)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> None:
    """Stand for the function by which a template rejects a conversation."""
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    """Write JSON for a model to read: nothing is escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
