"""A real HTTP server on this machine that misbehaves on demand, and the fsspec file systems that read from it."""

from __future__ import annotations

import importlib.util
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.spec import AbstractFileSystem


class Store(ThreadingHTTPServer):
    """Serves a folder with ranges. `trouble` are the ways in which the next requests for data go wrong, in order.

    `absent` is what is answered for what is not there: 403 by many stores to those who may not list. `busy` is how many more
    times a file answers 503 when it is asked for as a whole, as one is that may not be there.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.trouble: list[str] = []
        self.always, self.absent = "", 404
        self.requests: list[str] = []
        self.busy: dict[str, int] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that the other side gave up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Store
    protocol_version = "HTTP/1.0"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(self.server.absent)
            return
        data, span = path.read_bytes(), self.headers.get("Range")
        if not span and self.server.busy.get(path.name, 0):
            self.server.busy[path.name] -= 1
            self.send_error(503)
            return
        trouble = ""
        if body and span:
            self.server.requests.append(f"{self.path} {span}")
            trouble = self.server.trouble.pop(0) if self.server.trouble else self.server.always
        if trouble in ("500", "403"):
            self.send_error(int(trouble))
            return
        whole = len(data)
        if span and trouble != "whole":
            first, last = (int(x) for x in span.removeprefix("bytes=").split("-"))
            data = data[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{whole}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if trouble in ("cut", "stall") else data)
            self.wfile.flush()
            if trouble == "stall":
                time.sleep(30)


class Plain(AbstractFileSystem):  # type: ignore[misc]
    """HTTP by the standard library, for machines without aiohttp."""

    protocol = "plain"

    def _get(self, path: str, method: str, span: str = "") -> tuple[bytes, Message]:
        url = "http://" + path.removeprefix("plain://")
        request = urllib.request.Request(url, method=method, headers={"Range": span} if span else {})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise FileNotFoundError(path) from None
            refused = OSError(f"HTTP {error.code}")
            refused.status = error.code  # type: ignore[attr-defined]
            raise refused from None

    def info(self, path: str, **_: object) -> dict[str, Any]:
        told = self._get(path, "HEAD")[1]
        marks = {"Last-Modified": told["Last-Modified"]}  # under the name that fsspec's HTTP gives it
        return {"name": path, "size": int(told["Content-Length"]), "type": "file", **marks}

    def cat_file(self, path: str, start: int = 0, end: int = 0, **_: object) -> bytes:
        return self._get(path, "GET", f"bytes={start}-{end - 1}")[0]


class Folders(AbstractFileSystem):  # type: ignore[misc]
    """The folder `root`, listed folder by folder as sftp, HDFS or SMB are; one named in `stalled` fails to be, so many times."""

    protocol = "folders"
    root = Path()
    stalled: ClassVar[dict[str, int]] = {}

    def _entry(self, path: Path) -> dict[str, Any]:
        kind = "directory" if path.is_dir() else "file"
        return {"name": path.relative_to(self.root).as_posix(), "size": path.stat().st_size, "type": kind}

    def info(self, path: str, **_: object) -> dict[str, Any]:
        return self._entry(self.root / self._strip_protocol(path))

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
        path = self._strip_protocol(path)
        if self.stalled.get(path, 0):
            self.stalled[path] -= 1
            raise TimeoutError("read timed out")
        found = [self._entry(p) for p in sorted((self.root / path).iterdir())]
        return found if detail else [entry["name"] for entry in found]

    def cat_file(self, path: str, start: int = 0, end: int = 0, **_: object) -> bytes:
        return Path(self.root, self._strip_protocol(path)).read_bytes()[start:end]


fsspec.register_implementation("folders", Folders, clobber=True)
fsspec.register_implementation("plain", Plain, clobber=True)
PROTOCOLS = ["plain", *(["http"] if importlib.util.find_spec("aiohttp") else [])]


@contextmanager
def serving(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield store
    finally:
        store.shutdown()
        store.server_close()
