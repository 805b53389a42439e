"""A Prefect server for a test, and its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

__all__ = ["served_client"]


@contextmanager
def served_client(project: Project) -> Iterator[SyncPrefectClient]:
    """Start a project's server and yield its client; stop the server at the end of the block."""
    project.make_private_folders()
    server = start_server(project)
    try:
        with temporary_settings({PREFECT_API_URL: server.wait()}), get_client(sync_client=True) as client:
            yield client
    finally:
        server.stop()
