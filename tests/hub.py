"""A server that speaks as much of the hub's API as fetching files at a revision takes.

Shapes as huggingface_hub 2.4 asks for them: the list of files under
``/api/models/{id}/revision/{revision}`` (or ``/api/datasets/...``), the files under
``[datasets/]{id}/resolve/{commit}/{path}`` with their commit and ETag in the head.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by id, each a mapping from path to content; every branch is `COMMIT`."""

    url: str = ""
    repositories: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        path = path.partition("?")[0]
        self.asked.append(path)
        for name, files in self.repositories.items():
            for kind in ("models", "datasets"):
                if path.startswith(f"/api/{kind}/{name}"):
                    return self._listing(kind, name, files, path)
            for prefix in (f"/{name}/resolve/", f"/datasets/{name}/resolve/"):
                if path.startswith(prefix):
                    revision, _, file = path.removeprefix(prefix).partition("/")
                    return self._file(revision, files.get(file))
        return 404, {"X-Error-Code": "RepoNotFound"}, b'{"error": "Repository not found"}'

    def _listing(
        self, kind: str, name: str, files: Mapping[str, bytes], path: str
    ) -> tuple[int, dict[str, str], bytes]:
        revision = path.partition("/revision/")[2] or "main"
        if revision not in ("main", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b'{"error": "Invalid rev id"}'
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": file, "size": len(body), "oid": _etag(body)}
                for file, body in files.items()
            ]
            return 200, {}, json.dumps(entries).encode()
        siblings = [{"rfilename": file} for file in files]
        body = {"_id": "0", "id": name, "sha": COMMIT, "siblings": siblings, "private": False}
        return 200, {}, json.dumps(body).encode()

    def _file(self, revision: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        if body is None:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        return 200, {"ETag": f'"{_etag(body)}"', "X-Repo-Commit": COMMIT}, body


@contextmanager
def serving(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    """Run a hub on loopback."""
    hub = Hub(repositories=dict(repositories))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._reply(with_body=False)

        def do_GET(self) -> None:
            self._reply(with_body=True)

        def _reply(self, *, with_body: bool) -> None:
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def _etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:40]
