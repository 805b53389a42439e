"""An HTTP server used as a DVC remote that can simulate network and server faults."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

__all__ = ["Fault", "ObjectServer", "object_server"]

Fault = int | Literal["cut", "short", "flipped", "hang"]
"""A fault of a request for an object.

- a number: the response has that status;
- cut: the connection is reset in the middle of the object, in either direction;
- short: half of the object is sent with a matching length;
- flipped: one bit of the object is changed;
- hang: half of the object is read, then nothing happens until the client gives up.
"""


class ObjectServer(ThreadingHTTPServer):
    """Objects in memory, by path; an object is stored when it was received completely."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.broken: dict[str, Fault] = {}
        """By method: the fault of every request for an object."""
        self.spared: set[str] = set()
        """Paths of objects without faults."""
        self.next: dict[str, list[Fault | None]] = {"GET": [], "PUT": []}
        """By method: the faults of the next requests; None for a normal response."""
        self.answered: Counter[tuple[str, int]] = Counter()
        """Number of responses by method and status; 0 for a reset connection."""
        self.hanging = threading.Event()
        """Set when a request hangs."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/team"

    def repair(self) -> None:
        """Remove all faults."""
        self.broken.clear()
        self.spared.clear()
        self.next = {"GET": [], "PUT": []}
        self.answered.clear()

    def fault(self, method: str, path: str) -> Fault | None:
        if path in self.spared:
            return None
        if self.next[method]:
            return self.next[method].pop(0)
        return self.broken.get(method)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    server: ObjectServer

    def do_GET(self) -> None:
        content = self.server.objects.get(self.path)
        fault = self.server.fault("GET", self.path)
        if isinstance(fault, int):
            self._answer(fault)
        elif content is None:
            self._answer(404)
        elif fault == "cut":
            self._answer(200, content[: len(content) // 2], length=len(content))
            self._reset()
        elif fault == "short":
            self._answer(200, content[: len(content) // 2])
        elif fault == "flipped":
            self._answer(200, bytes([content[0] ^ 1]) + content[1:])
        elif fault == "hang":
            self._hang()
        else:
            self._answer(200, content)

    def do_PUT(self) -> None:
        fault = self.server.fault("PUT", self.path)
        if fault in ("cut", "hang"):
            self.rfile.read(1)
            self._reset() if fault == "cut" else self._hang()
            return
        content = self._body()
        if isinstance(fault, int):
            self._answer(fault)
            return
        self.server.objects[self.path] = content[: len(content) // 2] if fault == "short" else content
        self._answer(201)

    def _body(self) -> bytes:
        """Return the complete body, or raise an error that ends the request."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self._exactly(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self._exactly(size))
            self.rfile.readline()
        return b"".join(parts)

    def _exactly(self, size: int) -> bytes:
        content = self.rfile.read(size)
        if len(content) < size:
            raise ConnectionError("the client disconnected")
        return content

    def _answer(self, status: int, content: bytes = b"", *, length: int | None = None) -> None:
        self.server.answered[self.command, status] += 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _reset(self) -> None:
        """Reset the connection."""
        self.server.answered[self.command, 0] += 1
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError):
            self.connection.close()
        self.close_connection = True

    def _hang(self) -> None:
        self.server.hanging.set()
        with suppress(OSError):
            while self.connection.recv(65536):
                pass

    def log_message(self, *_: object) -> None:
        """Suppress the log."""


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    server = ObjectServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
