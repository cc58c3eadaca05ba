"""A stand-in for a hub of models, on loopback: it lists repositories and gives their files, and fails as it is told."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".gguf", ".safetensors")  # kept by their SHA-256, as a hub keeps what Git LFS would


@dataclass
class StandInHub:
    """What the hub has, how it fails, and what it was asked."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)  # files by path, by ORG/NAME
    revisions: tuple[str, ...] = ("main",)
    token: str | None = None  # without it repositories are gated
    cuts: list[int] = field(default_factory=list)  # bytes after which the next large answers end
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # of the next answers, with headers
    damaged: set[str] = field(default_factory=set)  # paths whose content is given with other bytes
    claims: dict[str, int] = field(default_factory=dict)  # sizes that are listed, where they are others
    gone: set[str] = field(default_factory=set)  # paths that are listed and not there
    ranges: bool = True  # whether a part of a file can be asked for
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path and Range of each request
    tokens: set[str | None] = field(default_factory=set)  # that requests came with
    url: str = ""

    def add(self, repository: str, **files: bytes) -> None:
        """Adds a repository; in the names of files `__` stands for a dot."""
        self.repositories[repository] = {name.replace("__", "."): content for name, content in files.items()}

    def commit(self, repository: str) -> str:
        """Returns the commit of a repository, which changes with its files."""
        return hashlib.sha1(repr(sorted(self.repositories[repository].items())).encode()).hexdigest()

    def sent(self, path: str) -> list[str | None]:
        """Returns the Range of each GET of a file, by its name."""
        return [part for method, asked, part in self.asked if method == "GET" and asked.endswith(path)]


def digest_of(path: str, content: bytes) -> str:
    """Returns what a hub calls a file's content by."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    """A hub that answers until the block ends."""
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandInHub

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, self.headers.get("Range")))
        authorization = self.headers.get("Authorization")
        hub.tokens.add(authorization)
        if hub.statuses:
            self._fail(*hub.statuses.pop(0))
            return
        if path.startswith("/api/models/"):
            repository, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            if repository not in hub.repositories:
                self._fail(401 if authorization is None else 404, {"X-Error-Code": "RepoNotFound"})
            elif revision and revision not in (*hub.revisions, hub.commit(repository)):
                self._fail(404, {"X-Error-Code": "RevisionNotFound"})
            else:
                self._send(json.dumps(self._listed(repository)).encode(), {"Content-Type": "application/json"})
            return
        repository, _, rest = path[1:].partition("/resolve/")
        file = rest.partition("/")[2]
        if hub.token is not None and authorization != f"Bearer {hub.token}":
            self._fail(401 if authorization is None else 403, {"X-Error-Code": "GatedRepo"})
        elif file not in hub.repositories.get(repository, {}) or file in hub.gone:
            self._fail(404, {"X-Error-Code": "EntryNotFound"})
        else:
            self._file(repository, file, body=body)

    def _listed(self, repository: str) -> dict[str, Any]:
        siblings = []
        for path, content in self.hub.repositories[repository].items():
            one: dict[str, Any] = {
                "rfilename": path,
                "size": self.hub.claims.get(path, len(content)),
                "blobId": "0" * 40,
            }
            if path.endswith(LARGE):
                one["lfs"] = {"size": one["size"], "sha256": digest_of(path, content), "pointerSize": 130}
            else:
                one["blobId"] = digest_of(path, content)
            siblings.append(one)
        return {"id": repository, "sha": self.hub.commit(repository), "siblings": siblings, "tags": []}

    def _file(self, repository: str, file: str, *, body: bool) -> None:
        content = self.hub.repositories[repository][file]
        digest = digest_of(file, content)
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": self.hub.commit(repository)}
        if file.endswith(LARGE):
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        if file in self.hub.damaged:
            content = bytes(byte ^ 1 for byte in content)
        asked, start = self.headers.get("Range"), 0
        if asked is not None and self.hub.ranges:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(content[start:], headers, 206 if start else 200, body=body, cut=file.endswith(LARGE))

    def _send(
        self, content: bytes, headers: dict[str, str], status: int = 200, *, body: bool = True, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        if cut and self.hub.cuts:
            content = content[: self.hub.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(content)

    def _fail(self, status: int, headers: dict[str, str]) -> None:
        self._send(b"", headers, status)
