"""AIPerf: `aiperf profile`, with the raw export, which holds a time for each message."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from client_figures import Seen
from client_load import Client, Load
from client_reading import Stamps, seen_of, stamps

from peers.place import TOKENIZER, missing, program

PIP = [["aiperf==0.13.0"]]


def _command(load: Load) -> list[str]:
    return [
        *(str(program("aiperf", "aiperf")), "profile", "-m", "paced", "--url", load.base_url),
        *("--endpoint-type", "chat", "--streaming", "--tokenizer", str(TOKENIZER)),
        *("--concurrency", str(load.streams), "--request-count", str(load.n_requests)),
        # Else it tokenizes every answer, and a stamp is twenty tokens long where a chunk is one.
        "--use-server-token-count",
        *("--isl", "16", "--osl", str(load.pace.chunks), "--random-seed", "1"),
        *("--export-level", "raw", "--ui", "none", "--no-gpu-telemetry", "--no-server-metrics"),
        *("--artifact-dir", str(load.directory / "aiperf")),
    ]


def _seen(load: Load) -> Seen:
    """Read the raw export; its perf_ns are time.perf_counter_ns, which is CLOCK_MONOTONIC here."""
    answers, n_failed = [], 0
    with (load.directory / "aiperf" / "profile_export_raw.jsonl").open() as file:
        for line in file:
            record = json.loads(line)
            n_failed += bool(record.get("error"))
            answers.append((int(record["start_perf_ns"]), *_messages(record)))
    return seen_of(answers, n_failed=n_failed)


def _messages(record: dict[str, Any]) -> tuple[Stamps, Stamps]:
    """Return the server's stamps and AIPerf's times, message by message."""
    server_ns: list[int] = []
    at_ns: list[int] = []
    for response in record.get("responses") or []:
        for packet in response["packets"]:
            found = stamps(packet["value"])
            server_ns += found.tolist()
            at_ns += [int(response["perf_ns"])] * len(found)
    return np.array(server_ns, dtype=np.int64), np.array(at_ns, dtype=np.int64)


CLIENT = Client(
    "aiperf",
    _command,
    _seen,
    missing=lambda: missing("aiperf"),
    # With these two set it looks for a tokenizer in the hub's cache only, never in a directory.
    environment={"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": ""},
)
