"""What must never be written down: keys and tokens, taken out of everything that is recorded."""

from __future__ import annotations

from collections.abc import Iterable

MASK = b"*"
_SHORTEST = 4
"""A shorter fragment of a secret gives nothing away, and is common in any text."""


class Redactor:
    """Replaces secrets in bytes by asterisks of the same length.

    >>> Redactor([b"sesame"]).redact(b"key sesame refused")
    b'key ****** refused'
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True)
        self.reach = max((len(secret) - 1 for secret in self._secrets), default=0)
        """So many bytes before a read may belong to a secret that the read completes."""

    def __bool__(self) -> bool:
        """Whether there is anything to hide."""
        return bool(self._secrets)

    def redact(self, data: bytes) -> bytes:
        """Return `data` with every secret masked."""
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, MASK * len(secret))
        return data

    def text(self, text: str) -> str:
        """Return a text with every secret masked."""
        return self.redact(text.encode(errors="replace")).decode(errors="replace")

    def cut(self, data: bytes) -> int:
        """Return how many bytes at the end of `data` may be the beginning of a secret."""
        longest = 0
        for secret in self._secrets:
            for size in range(min(len(secret) - 1, len(data)), _SHORTEST - 1, -1):
                if data.endswith(secret[:size]):
                    longest = max(longest, size)
                    break
        return longest


class StreamRedactor:
    """Redacts one stream read by read, also where a secret is split between reads.

    The end of a read that may begin a secret is masked at once (a fragment too short to give
    anything away is not), and the rest of the secret when it comes.  Line ends cannot be within a
    secret, so a read that ends with one needs no second look.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._tail = b""

    def redact(self, data: bytes) -> bytes:
        """Return the next read, masked, of the same length."""
        before = len(self._tail)
        whole = self._tail + data
        masked = self._redactor.redact(whole)[before:]
        if data.endswith(b"\n"):
            self._tail = b""
            return masked
        self._tail = whole[max(0, len(whole) - self._redactor.reach) :]
        hidden = min(self._redactor.cut(whole), len(data))
        return masked[: len(masked) - hidden] + MASK * hidden
