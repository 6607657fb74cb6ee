"""Our rendering and encoding of conversations against transformers', in vLLM's environment."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable

from tests.real_engines.conftest import TARGET

from speedbench import datasets
from speedbench.tokenization import from_directory

REFERENCE = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for line in sys.stdin:
    found = tokenizer.apply_chat_template(
        json.loads(line), add_generation_prompt=True, tokenize=True, return_dict=True
    )
    print(json.dumps(found["input_ids"]))
"""


def test_every_conversation_of_mini_gives_the_ids_that_transformers_gives(
    program: Callable[[str], str],
) -> None:
    python = shlex.split(program("vllm"))[0]
    conversations = [
        [*before, *(("user", turn) for turn in prompt.turns)]
        for prompt in datasets.load("mini").prompts
        for before in ([], [("system", "Answer in one sentence. \N{GRINNING FACE}")])
    ]
    lines = [
        json.dumps([{"role": role, "content": content} for role, content in conversation])
        for conversation in conversations
    ]
    done = subprocess.run(
        [python, "-c", REFERENCE, TARGET],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    reference = [json.loads(line) for line in done.stdout.splitlines()]
    ours = from_directory(TARGET)
    assert len(reference) == len(conversations) == 220
    assert [ours.first_turn(conversation) for conversation in conversations] == reference
