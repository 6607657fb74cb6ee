"""Waiting for many sockets: epoll where there is one, what the system has elsewhere."""

from __future__ import annotations

import select
import selectors
from typing import Protocol

IN = 1
OUT = 4
"""The bits of epoll; the other system calls are translated to them."""


class Poller(Protocol):
    """Tells which file descriptors can be read or written."""

    def register(self, fd: int, mask: int, /) -> None:
        """Watch `fd` for `mask`."""
        ...

    def modify(self, fd: int, mask: int, /) -> None:
        """Watch `fd` for another `mask`."""
        ...

    def unregister(self, fd: int, /) -> None:
        """Watch `fd` no longer."""
        ...

    def poll(self, timeout_s: float, /) -> list[tuple[int, int]]:
        """Wait and return descriptors with what they are ready for."""
        ...


class _SelectorPoller:
    """The same over whatever `selectors` finds (kqueue, select)."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, fd: int, mask: int) -> None:
        self._selector.register(fd, self._events(mask))

    def modify(self, fd: int, mask: int) -> None:
        self._selector.modify(fd, self._events(mask))

    def unregister(self, fd: int) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        return [
            (key.fd, (IN if events & selectors.EVENT_READ else 0)
             | (OUT if events & selectors.EVENT_WRITE else 0))
            for key, events in self._selector.select(timeout_s)
        ]  # fmt: skip

    @staticmethod
    def _events(mask: int) -> int:
        wanted = selectors.EVENT_READ if mask & IN else 0
        return wanted | (selectors.EVENT_WRITE if mask & OUT else 0)


def poller() -> Poller:
    """Return the best poller of this system."""
    if hasattr(select, "epoll"):
        return select.epoll()
    return _SelectorPoller()
