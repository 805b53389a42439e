"""The servers of `modelworks up`, for tests that send them requests."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.workspaces import Background, Workspace

SECRET = "the content of a file that no server may return"


@dataclass(frozen=True)
class Server:
    """A server on loopback."""

    port: int

    def request(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        """Return status and text. The path is sent unchanged; client libraries would normalize it."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_host=True)
            raw = json.dumps(body).encode() if body is not None else b""
            for name, value in {"Host": f"127.0.0.1:{self.port}", **headers}.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(raw)))
            connection.endheaders(raw)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")


@dataclass(frozen=True)
class Up:
    """A running `modelworks up`."""

    workspace: Workspace
    background: Background
    mlflow: Server
    prefect: Server
    outside: Path
