"""Tokenizers by directory and by hub id, their templates, and what is wrong with some."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests import hub as fake_hub
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from speedbench.errors import CallError, DataError
from speedbench.tokenization import chat_tokenizer, from_directory
from speedbench.tokenization.template import ChatTemplate

PLAIN = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"


def write(directory: Path, *, config: dict[str, Any] | None = None, bos: bool = False) -> Path:
    """A byte-level tokenizer; with `bos` it begins every text with ``<s>`` by itself."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<s>"])
    if bos:
        bos_id = tokenizer.token_to_id("<s>")
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", bos_id)]
        )
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"chat_template": PLAIN, "bos_token": "<s>"} if config is None else config
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


def test_bos_is_there_exactly_once_whoever_writes_it(tmp_path: Path) -> None:
    silent = from_directory(write(tmp_path / "silent", bos=True))
    written = {"chat_template": "{{ bos_token }}" + PLAIN, "bos_token": "<s>"}
    by_template = from_directory(write(tmp_path / "template", config=written, bos=True))
    neither = from_directory(write(tmp_path / "neither"))
    talk = [("user", "Hi")]
    for tokenizer, count in ((silent, 1), (by_template, 1), (neither, 0)):
        ids = tokenizer.first_turn(talk)
        assert tokenizer.decode_all(ids).count("<s>") == count
        later = tokenizer.next_turn(ids, [72], talk, "Bye")
        assert later[: len(ids)] == ids
        assert tokenizer.decode_all(later).count("<s>") == count


def test_a_template_file_goes_before_the_configuration(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("file: {{ messages[0].content }}")
    tokenizer = from_directory(tmp_path)
    assert tokenizer.decode_all(tokenizer.first_turn([("user", "Hi")])) == "file: Hi"


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    tokenizer = from_directory(write(tmp_path, config={"chat_template": several}))
    assert tokenizer.decode_all(tokenizer.first_turn([("user", "Hi")])) == "d"


def test_template_arguments_reach_the_template_and_are_part_of_the_name(tmp_path: Path) -> None:
    template = "{{ messages[0].content }}{% if not enable_thinking %} /no_think{% endif %}"
    write(tmp_path, config={"chat_template": template})
    on, off = (
        from_directory(tmp_path, template_args={"enable_thinking": value})
        for value in (True, False)
    )
    talk = [("user", "Hi")]
    assert on.decode(on.first_turn(talk)) == "Hi"
    assert off.decode(off.first_turn(talk)) == "Hi /no_think"
    assert on.fingerprint != off.fingerprint
    assert on.origin == off.origin
    assert off.facts["template_args"] == {"enable_thinking": False}


def test_what_transformers_gives_templates_is_there() -> None:
    template = ChatTemplate(
        "{{ {'ü': [1]} | tojson }} {{ strftime_now('%d %b %Y') }}"
        "{% for m in messages %}{% generation %}[{{ m.content }}]{% endgeneration %}{% endfor %}",
        {},
        now=lambda: datetime(2026, 11, 24),
    )
    assert template.render([("user", "Hi")], {}) == '{"ü": [1]} 24 Nov 2026[Hi]'


def test_a_template_cannot_leave_its_sandbox(tmp_path: Path) -> None:
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    tokenizer = from_directory(write(tmp_path, config={"chat_template": escape}))
    with pytest.raises(DataError, match="cannot render"):
        tokenizer.first_turn([("user", "Hi")])


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("tokenizer.json", "{}", "is no tokenizer"),
        ("tokenizer_config.json", "{", "is not JSON"),
        ("tokenizer_config.json", "[]", "holds no object"),
        ("tokenizer_config.json", "{}", "holds no chat template"),
        ("chat_template.jinja", "{% if %}", "is no Jinja template"),
    ],
)
def test_a_broken_file_is_one_sentence(file: str, content: str, said: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        from_directory(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_is_code_is_refused_unless_asked_for(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="needs --trust-remote-code"):
        chat_tokenizer(str(tmp_path))


def test_a_directory_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="is a directory, and has none"):
        chat_tokenizer(str(write(tmp_path)), revision="main")


def test_a_path_that_is_not_there_is_no_hub_id() -> None:
    with pytest.raises(CallError, match="no such directory"):
        chat_tokenizer("./nowhere")


# --- the hub, in a process of its own: its client reads the address when it is imported ----------

FETCH = """
import sys
from speedbench.errors import SpeedbenchError
from speedbench.tokenization import chat_tokenizer
try:
    found = chat_tokenizer(sys.argv[1], revision=sys.argv[2] or None)
except SpeedbenchError as error:
    sys.exit(str(error))
print(found.origin.source, found.origin.revision, len(found.first_turn([("user", "Hi")])))
"""


def fetched(url: str, home: Path, name: str, revision: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "PATH": "",
    }
    return subprocess.run(
        [sys.executable, "-c", FETCH, name, revision],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_hub_id_is_fetched_at_its_commit(tmp_path: Path) -> None:
    folder = write(tmp_path / "files")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["model.safetensors"] = b"too big to be fetched"
    with fake_hub.serving({"org/model": files}) as hub:
        done = fetched(hub.url, tmp_path / "home", "org/model", "main")
        assert done.stdout.split()[:2] == ["org/model", fake_hub.COMMIT], done.stderr
        assert not any("safetensors" in path for path in hub.asked if "resolve" in path)
        refused = fetched(hub.url, tmp_path / "home", "org/model", "no-such-branch")
        assert refused.returncode == 1
        assert "cannot be fetched from the hub" in refused.stderr
        absent = fetched(hub.url, tmp_path / "home", "org/absent", "")
    assert "cannot be fetched from the hub" in absent.stderr
    assert absent.stderr.count("\n") == 1
