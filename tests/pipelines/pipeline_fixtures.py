"""Fixtures that run complete pipelines as a user does: commands in child processes, in separate projects."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from pipelines.commands import REPOSITORY, environment_at
from pipelines.preloaded import Preloaded
from pipelines.workspaces import Workspace, copy_project

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

DIGITS = "configs/digits_cnn.yaml"


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of this test session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def environment(session_folder: Path) -> dict[str, str]:
    """Return the user's environment without variables of the project, and with an empty home."""
    return environment_at(session_folder / "home")


@pytest.fixture
def make_workspace(environment: dict[str, str]) -> Callable[[Path], Workspace]:
    """Return a function that makes a workspace of any folder."""
    return lambda root: Workspace(root, environment)


@pytest.fixture(scope="session")
def shared_project(
    session_folder: Path, environment: dict[str, str]
) -> Callable[[str, Callable[[Workspace], Any]], Path]:
    """Return a function that makes a project once per session.

    Tests copy it and do not change it.

    The result of `make` is written to `made.json` beside it.
    """

    def make_once(name: str, make: Callable[[Workspace], Any]) -> Path:
        root = session_folder / name / "project"
        result = root.with_name("made.json")
        with FileLock(session_folder / f"{name}.lock"):
            if not result.exists():
                shutil.rmtree(root.parent, ignore_errors=True)  # left by a worker that failed
                (root / "configs").mkdir(parents=True)
                for config in (REPOSITORY / "configs").iterdir():
                    shutil.copy(config, root / "configs")
                config = root / DIGITS
                config.write_text(config.read_text().replace("threads: 2", "threads: 1"))  # tests share the machine
                result.write_text(json.dumps(make(Workspace(root, environment))))
        return root

    return make_once


@pytest.fixture(scope="session")
def server_url(session_folder: Path) -> Iterator[str]:
    """Return the API address of a Prefect server that this worker's tests share."""
    root = session_folder / f"server-{os.getpid()}"
    project = Project(root)
    project.make_private_folders()
    server = start_server(project)
    yield server.wait()
    server.stop()


@pytest.fixture(scope="session")
def preloaded(session_folder: Path, environment: dict[str, str], server_url: str) -> Iterator[Preloaded]:
    """Return the process that this worker's commands with the shared Prefect server are forked from."""
    settings = {**environment, "PREFECT_API_URL": server_url}
    with Preloaded(settings, session_folder / f"preloaded-{os.getpid()}") as process:
        yield process


@pytest.fixture(scope="session")
def bare(shared_project: Callable[..., Path]) -> Path:
    """Return a project without runs.

    The tracking store exists, because it takes a second.
    """

    def make(workspace: Workspace) -> None:
        from modelworks.registry.backend.tracking_store import connect

        connect(workspace.project)

    return shared_project("bare", make)


@pytest.fixture(scope="session")
def digits(shared_project: Callable[..., Path]) -> Path:
    """Return a project after a first run of the digits, which started its own Prefect server."""

    def make(workspace: Workspace) -> Any:
        outcome = workspace.run("run", DIGITS, "--json")
        assert outcome.code == 0, outcome.stderr
        return {"summary": outcome.object, "stderr": outcome.stderr}

    return shared_project("digits", make)


@pytest.fixture(scope="session")
def two_versions(shared_project: Callable[..., Path], digits: Path, server_url: str, preloaded: Preloaded) -> Path:
    """Return the digits' project after a second training with fewer epochs, which was promoted too."""

    def make(workspace: Workspace) -> Any:
        copy_project(digits, workspace.root)
        workspace = replace(workspace, preloaded=preloaded).with_environment(PREFECT_API_URL=server_url)
        changes = ("--set", "train.epochs=5", "--set", "gate.max_regression=0.9")
        return {
            "changes": changes,
            "why": workspace.done("why", DIGITS, *changes),
            "summary": workspace.done("run", DIGITS, *changes),
        }

    return shared_project("two-versions", make)


@pytest.fixture
def copy(tmp_path: Path, environment: dict[str, str]) -> Callable[[Path], Workspace]:
    """Return a function that copies a project."""

    def make(source: Path) -> Workspace:
        copy_project(source, tmp_path / "project")
        return Workspace(tmp_path / "project", environment)

    return make


@pytest.fixture
def served_copy(
    copy: Callable[[Path], Workspace], server_url: str, preloaded: Preloaded
) -> Callable[[Path], Workspace]:
    """Return a function that copies a project; its commands use the shared Prefect server."""

    def make(source: Path) -> Workspace:
        return replace(copy(source), preloaded=preloaded).with_environment(PREFECT_API_URL=server_url)

    return make


@pytest.fixture
def workspace(served_copy: Callable[[Path], Workspace], bare: Path) -> Workspace:
    """Return a project without runs, and with a Prefect server."""
    return served_copy(bare)


@pytest.fixture
def after_digits(served_copy: Callable[[Path], Workspace], digits: Path) -> Workspace:
    """Return a project with the digits in production, and with a Prefect server."""
    return served_copy(digits)
