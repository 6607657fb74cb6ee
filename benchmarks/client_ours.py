"""The clients that are ours: the product, the C floor, and a plain aiohttp script."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
from client_figures import Seen
from client_load import Client, Load
from client_reading import seen_of, stamps
from client_server import BUILD, CERTIFICATE
from peers.place import missing, program

HERE = Path(__file__).resolve().parent


# --- the product -------------------------------------------------------------------------------


def _speedbench_command(load: Load) -> list[str]:
    data = load.directory / "prompts.jsonl"
    with data.open("w") as file:
        for i in range(load.n_requests):
            prompt = {"id": f"p{i}", "category": "qa", "turns": [f"Question {i}: why is it so?"]}
            file.write(json.dumps(prompt) + "\n")
    program = Path(sys.executable).parent / "speedbench"
    command = [str(program)] if program.exists() else [sys.executable, "-m", "speedbench"]
    command += ["run", "--engine", "openai", "--base-url", load.base_url, "--data", str(data)]
    command += ["--concurrency", str(load.streams), "--max-tokens", str(load.pace.chunks)]
    command += ["--stamps", "kernel" if load.kernel_stamps else "read"]
    command += ["--ca-file", str(CERTIFICATE)] if load.tls else []
    return [*command, "--output", str(load.directory / "run")]


def _speedbench_seen(load: Load) -> Seen:
    """Read the tables that a run writes from its journal.

    Raises
    ------
    ValueError
        When the stamps are not those that were asked for: then the table would be mislabelled.
    """
    client = json.loads((load.directory / "run" / "manifest.json").read_bytes())["client"]
    if client["stamps"] != ("kernel" if load.kernel_stamps else "read"):
        raise ValueError(f"its stamps are those of: {client['stamps']}")
    requests = pl.read_parquet(load.directory / "run" / "requests.parquet")
    chunks = pl.read_parquet(load.directory / "run" / "chunks.parquet").sort("request", "chunk")
    times = dict(chunks.group_by("request", maintain_order=True).agg("at_ns").iter_rows())
    rows = requests.select("request", "sent_ns", "output_text").iter_rows()
    answers = [
        (sent_ns, stamps(text), np.array(times.get(request, []), dtype=np.int64))
        for request, sent_ns, text in rows
    ]
    n_failed = requests.height - requests["failure_kind"].null_count()
    return seen_of(answers, n_failed=n_failed, said=client["verdict"])


SPEEDBENCH = Client("speedbench", _speedbench_command, _speedbench_seen, terminal=True)

# --- the floor ---------------------------------------------------------------------------------


def _floor_command(load: Load) -> list[str]:
    command = [str(BUILD / "floor_client"), "--port", load.base_url.rpartition(":")[2]]
    command += ["--streams", str(load.streams), "--rounds", str(load.rounds)]
    return [*command, "--chunks", str(load.pace.chunks), "--log", str(load.directory / "seen")]


def _floor_seen(load: Load) -> Seen:
    rows = np.fromfile(load.directory / "seen", dtype=np.int64).reshape(-1, 3)
    return Seen(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 1], "monotonic")


FLOOR = Client("C floor", _floor_command, _floor_seen)

# --- a plain script ----------------------------------------------------------------------------


def _aiohttp_command(load: Load) -> list[str]:
    command = [str(program("aiohttp", "python")), str(HERE / "client_aiohttp.py"), load.base_url]
    return [*command, str(load.streams), str(load.rounds), str(load.pace.chunks)]


def _aiohttp_seen(load: Load) -> Seen:
    with (load.directory / "output.txt").open() as file:
        rows = [json.loads(line) for line in file]
    answers = [(r["start_ns"], stamps(r["text"]), np.array(r["at_ns"])) for r in rows]
    return seen_of(answers)


PLAIN_AIOHTTP = Client(
    "plain aiohttp", _aiohttp_command, _aiohttp_seen, missing=lambda: missing("aiohttp")
)
