"""A program: run requests through the engine loop and print what it tells, for `test_counters`.

With OPENVINO_LOG_LEVEL above 2 OpenVINO GenAI prints its own counters in between.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from speedbench.engines.embedded.loop import EngineLoop, Method


def main(job: dict[str, Any]) -> None:
    method = Method("draft_model", job["draft_length"])
    loop = EngineLoop(Path(job["target"]), Path(job["drafter"]), method, threads=1)
    for batch in job["batches"]:
        for key, input_ids, options in batch:
            loop.add(key, input_ids, options)
        while loop.busy:
            iteration = loop.step()
            for key, output in iteration.outputs.items():
                told = [key, output.token_ids, output.drafted, output.finish_reason]
                sys.stdout.write(f"told {json.dumps(told)}\n")
                sys.stdout.flush()  # GenAI writes to the same place


if __name__ == "__main__":
    main(json.load(sys.stdin))
