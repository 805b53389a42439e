"""Find or start the Prefect server for a run."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from modelworks.errors import Unavailable
from modelworks.project import Project
from modelworks.servers import child_process
from modelworks.servers.no_proxy import ask

__all__ = ["Server", "serving_address", "start_server"]

START_SECONDS = 120.0
SHUTDOWN_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """A Prefect server process that we started. Its URL is known before it answers."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait(self, stopping: threading.Event | None = None) -> str:
        """Wait until the server answers or `stopping` is set; return the API's URL.

        Raises:
            Unavailable: the process ended or did not answer in time.
        """
        child_process.wait_until(
            self.process, lambda: answers(self.url), "Prefect's server", self.log, START_SECONDS, stopping
        )
        return self.url

    def stop(self) -> None:
        """Stop the server; a second call does nothing."""
        child_process.end(self.process, SHUTDOWN_SECONDS)


def serving_address(project: Project) -> str | None:
    """Return the API URL of a running server: the user's, or that of `modelworks up`; else None.

    Raises:
        Unavailable: PREFECT_API_URL is set and nothing answers there.
    """
    if project.prefect_url:
        if not answers(project.prefect_url, ours=False):
            raise Unavailable(
                f"PREFECT_API_URL: nothing answers at {project.prefect_url}",
                "start that server, or unset PREFECT_API_URL",
                code="prefect.unavailable",
            )
        return project.prefect_url
    url = _read_url(up_notice(project))
    return url if url and answers(url) else None


def start_server(project: Project, *, port: int = 0, pages: bool = False) -> Server:
    """Start a server for the project's Prefect database; it ends with this process.

    Call it before Prefect is imported: exit handlers run in reverse order, and Prefect sends logs and events at exit.

    Args:
        project: whose database it serves.
        port: on loopback; 0 for any free port.
        pages: whether to serve the UI and run schedules.

    Raises:
        OSError: the port is taken.
    """
    log = project.prefect_home / "server.log"
    with socket.socket() as listener, log.open("ab") as stream:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        # Listen now, so that early connections wait instead of being refused.
        listener.listen(128)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        mode = "pages" if pages else "api"
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "modelworks.servers.prefect_server",
                str(os.getpid()),
                str(listener.fileno()),
                url,
                mode,
            ],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **project.environment()},
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the run; the server ends after it
        )
    server = Server(process, url, log)
    atexit.register(server.stop)
    return server


def up_notice(project: Project) -> Path:
    """Return the file with the URL of the server of `modelworks up`."""
    return project.prefect_home / "up.json"


def answers(url: str, *, ours: bool = True) -> bool:
    """Return whether a Prefect API answers; use the user's proxy for a server that is not ours."""
    try:
        with ask(f"{url}/health", 5, ours=ours) as response:
            return bool(response.status == 200)
    except (OSError, ValueError, HTTPException):  # HTTPException: urllib rejects a URL with a password
        return False


def _read_url(notice: Path) -> str | None:
    try:
        return str(json.loads(notice.read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None
