"""Start an MLflow server for tests, and a proxy that drops replies and injects other faults."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from modelworks.servers.no_proxy import ask

__all__ = ["Fault", "LossyProxy", "tracking_server"]

Fault = int | Literal["reset", "halved"]
"""A fault of a request.

- a number: the proxy replies with this status and does not forward the request;
- reset: both connections are reset after half of the body was sent;
- halved: the server receives half of the body, with a matching Content-Length.
"""


@contextmanager
def tracking_server(folder: Path, empty_store: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield the address and the process of a server with its own store that also serves the artifacts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        try:
            with ask(f"{address}/health", 5):
                break
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)  # between attempts to connect
    yield address, process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class LossyProxy:
    """Forwards requests to a server and its replies to the client, except the replies to lose.

    A reply is lost after the server has processed the request.
    """

    def __init__(self, server: str) -> None:
        self._upstream = server.removeprefix("http://").split(":")
        self._to_lose: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        """Number of lost replies, by the suffix of the request's path."""
        self.broken: dict[str, Fault] = {}
        """Faults of every request, by a regular expression that matches its "METHOD path"."""
        self.stumbling: dict[str, Fault] = {}
        """Faults of only the first request for each method and path, likewise."""
        self.faults: Counter[str] = Counter()
        """Number of faults, by method and path."""
        self._stumbled: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = serving.result(10)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lose(self, path: str, times: int = 1) -> None:
        """Lose the next replies to POST requests whose path has this suffix."""
        self._to_lose[path] = times

    def restore(self) -> None:
        """Remove all faults."""
        self.broken.clear()
        self.stumbling.clear()
        self.faults.clear()
        self._stumbled.clear()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        under_way = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one request per connection, so that the end of the connection ends the reply."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            method, path = head.decode("latin-1").split()[:2]
            fault = self._fault(method, path.split("?")[0])
            if isinstance(fault, int):
                writer.write(b"HTTP/1.1 %d Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % fault)
                await writer.drain()
                return
            if fault == "halved":
                body = body[: len(body) // 2]
                head = re.sub(rb"(?i)(\r\ncontent-length:) *\d+", rb"\1 %d" % len(body), head)
            head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
            # The server checks the Host header.
            head = re.sub(rb"(?i)(\r\nhost:)[^\r]*", rb"\1 " + ":".join(self._upstream).encode(), head)
            reply = await self._send(head, body[: len(body) // 2] if fault == "reset" else body, cut=fault == "reset")
            if fault == "reset":
                writer.transport.abort()
                return
            found = next((each for each in self._to_lose if path.split("?")[0].endswith(each)), "")
            if method == "POST" and self._to_lose[found] > 0:
                self._to_lose[found] -= 1
                self.lost[found] += 1
            else:
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed the connection
        finally:
            writer.close()

    def _fault(self, method: str, path: str) -> Fault | None:
        request = f"{method} {path}"
        rules = self.broken if request in self._stumbled else {**self.stumbling, **self.broken}
        found = next((fault for part, fault in rules.items() if re.search(part, request)), None)
        if found is not None:
            self._stumbled.add(request)
            self.faults[request] += 1
        return found

    async def _send(self, head: bytes, body: bytes, *, cut: bool) -> bytes:
        reader, writer = await asyncio.open_connection(self._upstream[0], int(self._upstream[1]))
        try:
            writer.write(head[:-2] + b"Connection: close\r\n\r\n" + body)
            await writer.drain()
            if cut:
                writer.transport.abort()
                return b""
            return await reader.read(-1)
        finally:
            writer.close()
