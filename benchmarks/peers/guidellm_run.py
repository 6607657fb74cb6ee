"""GuideLLM: `guidellm run` with a concurrent profile.

Its report holds the times of an answer's first and last message and no others: its stamp error is
that of these two.  They are time.time(), carried over to CLOCK_MONOTONIC when they are read.
"""

from __future__ import annotations

import json
import time

import numpy as np
from client_figures import Seen
from client_load import Client, Load
from client_reading import stamps

from peers.place import TOKENIZER, missing, program

PIP = [["guidellm==0.8.1"]]


def _command(load: Load) -> list[str]:
    backend = f"kind=openai_http,target={load.base_url},model=paced,http2=false"
    data = f"kind=synthetic_text,prompt_tokens=16,output_tokens={load.pace.chunks}"
    return [
        *(str(program("guidellm", "guidellm")), "run", "--disable-console-interactive"),
        *("--backend", f"{backend},request_format=/v1/chat/completions", "--data", data),
        *("--profile", f"kind=concurrent,streams={load.streams}"),
        *("--constraint", f"kind=max_requests,count={load.n_requests}"),
        *("--tokenizer", f"kind=hf_auto,model={TOKENIZER}"),
        *("--output", f"kind=json,path={load.directory / 'guidellm.json'}"),
    ]


def _seen(load: Load) -> Seen:
    to_monotonic_ns = time.monotonic_ns() - time.time_ns()
    report = json.loads((load.directory / "guidellm.json").read_bytes())
    requests = report["benchmarks"][0]["requests"]
    starts, server, at, found = [], [], [], [np.empty(0, np.int64)]
    for request in requests["successful"]:
        timings = request["info"]["timings"]
        text_ns = stamps(request["output"])
        found.append(text_ns)
        starts += [timings["request_start"]] * 2
        server += [text_ns[0], text_ns[-1]]
        at += [timings["first_token_iteration"], timings["last_token_iteration"]]
    return Seen(
        start_ns=_ns(starts) + to_monotonic_ns,
        server_ns=np.array(server, dtype=np.int64),
        at_ns=_ns(at) + to_monotonic_ns,
        found_ns=np.concatenate(found),
        clock="monotonic",
        n_failed=len(requests["errored"]) + len(requests["incomplete"]),
    )


def _ns(seconds: list[float]) -> np.ndarray:
    """Return ns; seconds since 1970 in a float64 are exact to a fraction of a microsecond."""
    return np.rint(np.array(seconds, dtype=np.float64) * 1e9).astype(np.int64)


CLIENT = Client("guidellm", _command, _seen, missing=lambda: missing("guidellm"))
