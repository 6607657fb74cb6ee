"""Where the load goes: a server's address, what every request to it carries, what stays secret."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from speedbench import config
from speedbench.client import http1
from speedbench.client.secrets import Redactor
from speedbench.errors import EngineError
from speedbench.records import HttpCall

LONG_ENOUGH = 8
"""Characters from which on a value may be a key whatever its name is."""
_SCHEMES = ("basic", "bearer", "digest", "token")
_NAMES_A_KEY = re.compile("key|token|auth|secret|pass|cookie|credential|sig", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """A server, from its URL without ``/v1``.

    `url` may hold a query, which goes with every request and, like `headers`, is never written
    down.  `ca_file` names an authority besides those that the system trusts.

    >>> target = Target("https://h/p?key=sesame", {"X-Key": "open"})
    >>> target.public_url, target.host, target.port, target.prefix
    ('https://h/p?key=***', 'h', 443, '/p')
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The server's name."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The server's port."""
        return urlsplit(self.url).port or (443 if self.tls else 80)

    @property
    def prefix(self) -> str:
        """The path before ``/v1``, without a slash at its end."""
        return urlsplit(self.url).path.rstrip("/").removesuffix("/v1")

    @property
    def query(self) -> str:
        """What follows the path of every request."""
        return urlsplit(self.url).query

    @property
    def public_url(self) -> str:
        """The URL as it may be shown and kept."""
        return config.public_url(self.url)

    @property
    def secrets(self) -> list[bytes]:
        """Everything that must not be written down: headers and query values, word by word.

        A short word counts only where the name says that it is a key: to mask every ``true`` that
        a server sends would destroy its answers.
        """
        named = [*self.headers.items(), *parse_qsl(self.query, keep_blank_values=True)]
        as_sent = [pair.partition("=") for pair in self.query.split("&") if pair]
        named += [(name, value) for name, _, value in as_sent]
        found = {
            text.encode()
            for name, value in named
            for text in [value, *value.split()]
            if text.lower() not in _SCHEMES
            and len(text) >= (1 if _NAMES_A_KEY.search(name) else LONG_ENOUGH)
        }
        return sorted(found)

    @property
    def redactor(self) -> Redactor:
        """Takes the secrets out of texts."""
        return Redactor(self.secrets)

    def url_of(self, path: str) -> str:
        """Return the URL of a path at this server, query included: not to be shown."""
        return urlsplit(self.url)._replace(path=self.prefix + path).geturl()

    def payload(self, call: HttpCall) -> bytes:
        """Return a call as bytes to be sent."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return http1.request_bytes(
            call,
            host=f"{name}:{self.port}",
            prefix=self.prefix,
            query=self.query,
            headers=self.headers,
        )

    def addresses(self) -> list[tuple[int, str, int]]:
        """Return where the server can be reached: family, address, port.

        Raises
        ------
        EngineError
            When its name is not known.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise EngineError(
                f"cannot reach {self.public_url}: the name {self.host!r} is not known "
                f"({error.strerror})"
            ) from error
        addresses = [(int(family), str(where[0]), self.port) for family, _, _, _, where in found]
        return list(dict.fromkeys(addresses))
