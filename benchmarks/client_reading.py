"""What every reader of results shares: the server's stamps in a text, and the times of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from client_figures import Clock, Seen
from numpy.typing import NDArray

Stamps = NDArray[np.int64]

STAMP = re.compile(r"s(\d{19})")
"""The server's stamp in a chunk's text."""


def stamps(text: str | None) -> Stamps:
    """Return the server's stamps in an answer, in order."""
    return np.array(STAMP.findall(text or ""), dtype=np.int64)


def seen_of(
    answers: Iterable[tuple[int, Stamps, Stamps]],
    *,
    clock: Clock = "monotonic",
    n_failed: int = 0,
    said: str = "",
) -> Seen:
    """Join answers, each a start, the server's stamps and the client's times, chunk by chunk.

    A client may keep one time more, for the message that ends the stream.
    """
    rows = list(answers)
    lengths = [min(len(server), len(at)) for _, server, at in rows]
    return Seen(
        start_ns=np.repeat(np.array([start for start, _, _ in rows], dtype=np.int64), lengths),
        server_ns=_joined(server[:n] for (_, server, _), n in zip(rows, lengths, strict=True)),
        at_ns=_joined(at[:n] for (_, _, at), n in zip(rows, lengths, strict=True)),
        found_ns=_joined(server for _, server, _ in rows),
        clock=clock,
        n_failed=n_failed,
        said=said,
    )


def intervals_to_times(start_s: float, ttft_s: float, itl_s: list[float]) -> Stamps:
    """Return the times of an answer's chunks, in ns, from its start and its intervals."""
    return np.rint(np.cumsum([start_s + ttft_s, *itl_s]) * 1e9).astype(np.int64)


def _joined(parts: Iterable[Stamps]) -> Stamps:
    return np.concatenate([np.empty(0, np.int64), *parts])
