"""How many files a process may have open: a stream needs one."""

from __future__ import annotations

UNKNOWN = 1 << 20


def most_descriptors() -> int:
    """Return the most file descriptors that a process of ours can get."""
    try:
        import resource
    except ImportError:  # Windows has no such limit on sockets
        return UNKNOWN
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return UNKNOWN if hard == resource.RLIM_INFINITY else hard


def raise_descriptor_limit() -> None:
    """Let this process have as many file descriptors as the system allows."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most_descriptors()
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
