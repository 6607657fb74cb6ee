"""How a request can fail on the way: the kinds, and the words for them.

What is wrong with the content of an answer that did arrive is found when it is decoded
(`speedbench.engines`).
"""

from __future__ import annotations

import errno
import os

from speedbench.records import Failed

DETAIL_CHARACTERS = 300

CONNECT_REFUSED = "connect_refused"
CONNECT_FAILED = "connect_failed"
CONNECT_TIMEOUT = "connect_timeout"
FIRST_BYTE_TIMEOUT = "first_byte_timeout"
BETWEEN_BYTES_TIMEOUT = "between_bytes_timeout"
TOTAL_TIMEOUT = "total_timeout"
TLS = "tls"
RESET = "reset"
CUT_STREAM = "cut_stream"
BAD_HTTP = "bad_http"
ENCODED = "content_encoding"
STALE = "stale_connection"
"""A connection that the server had closed while it was idle: the request is sent again on a new
one, as another attempt."""

RETRIED = frozenset({CONNECT_REFUSED, CONNECT_FAILED, CONNECT_TIMEOUT, RESET, STALE})
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_WAIT_S = 60.0
_SHORT_OF = {
    errno.EADDRNOTAVAIL: "this machine has no free port left for another connection",
    errno.EMFILE: "this process has no free file descriptor left: raise ulimit -n",
    errno.ENFILE: "this machine has no free file descriptor left",
}


def of_connecting(at_ns: int, error: int) -> Failed:
    """Return the failure of a connection that could not be made."""
    kind = CONNECT_REFUSED if error == errno.ECONNREFUSED else CONNECT_FAILED
    return Failed(at_ns=at_ns, kind=kind, detail=_SHORT_OF.get(error) or os.strerror(error))


def of_transport(at_ns: int, error: OSError) -> Failed:
    """Return the failure of a connection that broke while it was used."""
    return Failed(at_ns=at_ns, kind=RESET, detail=error.strerror or type(error).__name__)


def of_timeout(at_ns: int, kind: str, seconds: float) -> Failed:
    """Return the failure of a request that waited too long."""
    waited = {
        CONNECT_TIMEOUT: "no connection",
        FIRST_BYTE_TIMEOUT: "nothing was answered",
        BETWEEN_BYTES_TIMEOUT: "the server stopped sending",
        TOTAL_TIMEOUT: "not finished",
    }[kind]
    return Failed(at_ns=at_ns, kind=kind, detail=f"{waited} after {seconds:g} s")


def of_status(at_ns: int, status: int, reason: str, body: str, retry_after: str) -> Failed:
    """Return the failure that an HTTP status other than 200 stands for."""
    wait = f"Retry-After: {retry_after[:40]}; " if retry_after else ""
    detail = f"{wait}{body or reason or 'no body'}"[:DETAIL_CHARACTERS]
    return Failed(at_ns=at_ns, kind=f"http_{status}", detail=detail)


def wait_s(failed: Failed, attempt: int, retry_after: str) -> float | None:
    """Return how long to wait before a failed attempt is repeated; None when it is not worth it.

    A server's own Retry-After counts; otherwise the wait doubles from half a second.

    >>> wait_s(Failed(at_ns=0, kind="http_429", detail=""), 2, "")
    2.0
    >>> wait_s(Failed(at_ns=0, kind="http_400", detail=""), 0, "") is None
    True
    """
    kind, _, status = failed.kind.partition("_")
    if failed.kind not in RETRIED and not (kind == "http" and int(status) in RETRIED_STATUS):
        return None
    asked = float(retry_after) if retry_after.isdecimal() else 0.5 * 2.0**attempt
    return min(asked, MAX_WAIT_S)
