"""Every exception that speedbench raises on purpose.

::

    SpeedbenchError                 one sentence: what is wrong, where, what to do
    ├── CallError                   the call is wrong (exit 2)
    │   ├── UnknownNameError        a name outside a known list; offers the nearest one
    │   └── DataError               a data set, file or prompt that cannot be used as it is
    ├── TraceError                  recorded or given data that cannot be (exit 2)
    ├── StreamError                 one answer is incomplete or malformed: that request has failed
    ├── InconclusiveError           too little evidence for the answer asked for (exit 3)
    ├── EngineError                 the engine or its server failed (exit 4)
    └── EnvironmentFailedError      disk, permission or process failed under us (exit 4)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SpeedbenchError(Exception):
    """The root; the command line prints its text and leaves with its `exit_code`."""

    exit_code = 2


class CallError(SpeedbenchError):
    """An argument, option or combination of them is wrong."""


class UnknownNameError(CallError):
    """A name that is not in the list of known names.

    >>> print(UnknownNameError("category", "codding", ["coding", "math"]))
    unknown category 'codding': did you mean 'coding'? Known: coding, math
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}Known: {', '.join(names)}")


class DataError(CallError):
    """A data set, a file or a single prompt cannot be used as it is."""


class TraceError(SpeedbenchError):
    """Data that cannot be: more accepted than drafted, stamps running backwards."""


class StreamError(SpeedbenchError):
    """The recorded bytes of one request are not a complete answer; that request has failed.

    `kind` is one word for the table of failures, the text is the detail.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class InconclusiveError(SpeedbenchError):
    """The evidence is too thin for the answer that was asked for."""

    exit_code = 3


class EngineError(SpeedbenchError):
    """The engine, or the server it runs in, failed or is not what was asked for."""

    exit_code = 4


class EnvironmentFailedError(SpeedbenchError):
    """The machine failed: no disk space, no permission, a process that died."""

    exit_code = 4
