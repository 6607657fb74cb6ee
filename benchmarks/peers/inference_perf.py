"""inference-perf: listed, not measured."""

from __future__ import annotations

from client_figures import Seen
from client_load import Client, Load

REASON = (
    "0.7.0 needs Python 3.12 or newer, which was not at hand to try it: "
    "there is no reader of its reports"
)


def _seen(load: Load) -> Seen:
    raise ValueError(REASON)


CLIENT = Client("inference-perf", lambda load: [], _seen, missing=lambda: REASON)
