"""Prefect's API for one run: the user's server, that of `modelworks up`, or one of our own for as long as it takes."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from modelworks.errors import Unavailable
from modelworks.project import Project

__all__ = ["Server", "serving_address", "start_server"]

START_SECONDS = 120.0
SHUTDOWN_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """A Prefect server process of our own."""

    process: subprocess.Popen[bytes]
    notice: Path
    log: Path

    def wait(self) -> str:
        """Its API's address, once it answers.

        Raises:
            Unavailable: it ended or did not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Unavailable(f"Prefect's server ended with code {self.process.returncode}", f"see {self.log}")
            url = _written(self.notice)
            if url and answers(url):
                return url
            time.sleep(0.05)
        raise Unavailable(f"Prefect's server did not answer within {START_SECONDS:.0f} s", f"see {self.log}")

    def stop(self) -> None:
        """End it; it owns nothing that is not on disk. A second call does nothing."""
        self.process.terminate()
        try:
            self.process.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.notice.unlink(missing_ok=True)


def serving_address(project: Project) -> str | None:
    """The API's address when a server runs already: the user's, or that of `modelworks up`.

    Raises:
        Unavailable: PREFECT_API_URL is set and nothing answers there.
    """
    if project.prefect_url:
        if not answers(project.prefect_url):
            raise Unavailable(
                f"PREFECT_API_URL: nothing answers at {project.prefect_url}", "start that server, or unset it"
            )
        return project.prefect_url
    url = _written(up_notice(project))
    return url if url and answers(url) else None


def start_server(project: Project, *, notice: Path | None = None, port: int = 0, pages: bool = False) -> Server:
    """Start a server over the project's Prefect database; it ends with this process.

    Call it before Prefect is imported: what is registered first ends last, and Prefect sends its last logs and
    events at exit.

    Args:
        notice: file the server writes its address into.
        port: 0 for any free one.
        pages: whether it serves the UI as well and schedules.
    """
    notice = notice or project.prefect_home / f"api-{os.getpid()}.json"
    notice.unlink(missing_ok=True)
    log = project.prefect_home / "server.log"
    command = [
        sys.executable,
        "-m",
        "flows.server",
        str(os.getpid()),
        str(notice),
        str(port),
        "pages" if pages else "api",
    ]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **project.environment()},
            start_new_session=True,  # Ctrl-C is for the run; the server ends after it
        )
    server = Server(process, notice, log)
    atexit.register(server.stop)
    return server


def up_notice(project: Project) -> Path:
    """Where `modelworks up` writes the address of its server."""
    return project.prefect_home / "up.json"


def answers(url: str) -> bool:
    """Whether a Prefect API answers there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:  # noqa: S310  # the address is ours or the user's
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def _written(notice: Path) -> str | None:
    try:
        return str(json.loads(notice.read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None
