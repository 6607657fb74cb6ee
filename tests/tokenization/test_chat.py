"""Conversations become the text and the ids that the model was trained on.

The expected strings were worked out by hand from the templates, and are what transformers 5.23
gives for them (`apply_chat_template(..., tokenize=False, add_generation_prompt=True)`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from speedbench.errors import DataError
from speedbench.tokenization import ChatTokenizer, Message, from_directory, hash_ids, hash_messages

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# What newer templates rely on: variables that nobody gives, attributes that messages lack, line
# statements whose blanks vanish, `continue`, and `raise_exception`.
TOOLS = """{%- if tools %}
    {{- 'tools!' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.tool_calls or undefined_flag %}
        {%- continue %}
    {%- endif %}
    {%- if message.role == 'tool' %}
        {{- raise_exception('no tools here') }}
    {%- endif %}
    {{- '[' + message.role + ']' + message.content }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]' }}
{%- endif %}
"""
TALK: list[Message] = [("user", " Hi "), ("assistant", "Hello."), ("user", "Bye\n")]


def tokenizer(directory: Path, template: str, special: dict[str, Any]) -> ChatTokenizer:
    """A byte-level tokenizer without merges, so that ids and bytes are one to one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, [])
    plain = Tokenizer(model)
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(["<|im_start|>", "<|im_end|>", "<s>"])
    plain.save(str(directory / "tokenizer.json"))
    config = {"chat_template": template, **special}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return from_directory(directory)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            CHATML,
            "<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
            "<|im_start|>user\nBye\n<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            LLAMA_3,
            "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (TOOLS, "[user] Hi [assistant]Hello.[user]Bye\n[assistant]"),
    ],
    ids=["ChatML", "Llama 3", "tools"],
)
def test_templates_render_as_in_transformers(template: str, expected: str, tmp_path: Path) -> None:
    chat = tokenizer(tmp_path, template, {"bos_token": {"content": "<s>", "lstrip": False}})
    ids = chat.first_turn(TALK)
    assert ids == chat.encode(expected)
    assert chat._render(TALK) == expected


def test_the_demo_pairs_turns_are_marked_and_begin_once(demo_tokenizer: ChatTokenizer) -> None:
    first = demo_tokenizer.first_turn([("user", "Hi")])
    assert first == demo_tokenizer.encode("<|bos|><|user|>\nHi<|end|>\n<|assistant|>\n")
    assert first.count(demo_tokenizer.encode("<|bos|>")[0]) == 1
    assert len(demo_tokenizer.encode("<|end|>")) == 1


def test_a_template_that_refuses_is_a_fault_of_the_data(tmp_path: Path) -> None:
    chat = tokenizer(tmp_path, TOOLS, {})
    with pytest.raises(DataError, match="no tools here"):
        chat.first_turn([("tool", "x")])


# --- the next turn -------------------------------------------------------------------------------

texts = st.text(max_size=20).filter(lambda text: "<|" not in text)


@given(first=texts, answer=texts, second=texts, ends=st.booleans())
def test_answers_are_spliced_as_the_ids_they_were_and_the_end_comes_once(
    first: str, answer: str, second: str, ends: bool, demo_tokenizer: ChatTokenizer
) -> None:
    """Also for ids that encoding the answer's text would not give: one id for each byte."""
    (end,) = demo_tokenizer.encode("<|end|>")
    sent = demo_tokenizer.first_turn([("user", first)])
    came = [i for byte in answer for i in demo_tokenizer.encode(byte)] + [end] * ends
    found = demo_tokenizer.next_turn(sent, came, [("user", first)], second)
    before_end = [*sent, *came[: len(came) - ends]]
    assert found[: len(before_end)] == before_end
    rest = demo_tokenizer.encode(f"<|end|>\n<|user|>\n{second}<|end|>\n<|assistant|>\n")
    assert found[len(before_end) :] == rest


def test_where_text_and_ids_agree_the_next_turn_is_the_rendered_conversation(
    demo_tokenizer: ChatTokenizer,
) -> None:
    sent = demo_tokenizer.first_turn([("user", "Hi")])
    came = demo_tokenizer.encode("Hello.<|end|>")
    found = demo_tokenizer.next_turn(sent, came, [("user", "Hi")], "Bye")
    assert found == demo_tokenizer.first_turn(
        [("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")]
    )


def test_an_answer_without_any_token_is_spliced_too(demo_tokenizer: ChatTokenizer) -> None:
    sent = demo_tokenizer.first_turn([("user", "Hi")])
    found = demo_tokenizer.next_turn(sent, [], [("user", "Hi")], "Bye")
    assert found == demo_tokenizer.first_turn([("user", "Hi"), ("assistant", ""), ("user", "Bye")])


# --- files and names -----------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    tokenizer(tmp_path, CHATML, {})
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=missing):
        from_directory(tmp_path)


def test_a_tokenizer_without_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="chat_template"):
        tokenizer(tmp_path, "", {})


def test_another_template_is_another_fingerprint(tmp_path: Path) -> None:
    first = tokenizer(tmp_path, CHATML, {}).fingerprint
    assert tokenizer(tmp_path, CHATML, {}).fingerprint == first
    assert tokenizer(tmp_path, LLAMA_3, {}).fingerprint != first


@given(st.lists(st.integers(0, 2**40), max_size=6), st.lists(st.integers(0, 2**40), max_size=6))
def test_hashes_tell_ids_apart_and_nothing_else(one: list[int], other: list[int]) -> None:
    assert (hash_ids(one) == hash_ids(tuple(other))) == (one == other)


def test_hashes_tell_messages_apart() -> None:
    assert hash_messages([("user", "a"), ("user", "b")]) != hash_messages([("user", "ab")])
    assert hash_messages([("user", "ü")]) == hash_messages([("user", "ü")])
