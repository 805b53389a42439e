"""Fixtures that run complete pipelines as a user does: commands in child processes, in separate projects."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from commands import COMMAND, DEADLINE, REPOSITORY, Outcome, environment_at
from filelock import FileLock
from preloaded import Preloaded

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server
from modelworks.training.config import ComputeConfig
from modelworks.training.machine import precision
from modelworks.training.machine.detect import detect

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGITS = "configs/digits_cnn.yaml"


@dataclass
class Background:
    """A command that is still running."""

    process: subprocess.Popen[str]
    started: float = field(default_factory=time.monotonic)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, module: str) -> psutil.Process:
        """Wait for the child process that runs a module, and return it."""
        found: list[psutil.Process] = []

        def search() -> bool:
            with _ended_processes_ignored():
                found.extend(each for each in self.children() if module in each.cmdline())
            return bool(found)

        self.wait_until(search)
        return found[0]

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition; fail if the command ends before it is true."""
        while not condition():
            if self.process.poll() is not None:
                pytest.fail(f"ended too early: {self.finish()}")
            if time.monotonic() - self.started > DEADLINE:
                pytest.fail("the condition was never true")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def finish(self) -> Outcome:
        stdout, stderr = self.process.communicate(timeout=DEADLINE)
        return Outcome(self.process.returncode, stdout, stderr, time.monotonic() - self.started)


@contextmanager
def _ended_processes_ignored() -> Iterator[None]:
    """Ignore processes that end while they are inspected."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        yield


@dataclass(frozen=True)
class Workspace:
    """A project's folder and the environment of its commands."""

    root: Path
    environment: dict[str, str]
    prefix: tuple[str, ...] = ()
    """Arguments in front of the command, e.g. of strace."""
    preloaded: Preloaded | None = None
    """The process that `run` forks commands from, where the environment allows it."""

    def run(self, *arguments: str | Path) -> Outcome:
        """Run a command until it ends."""
        if self.preloaded is not None and not self.prefix and self.preloaded.fits(self.environment):
            return self.preloaded.run(arguments, self.root, self.environment)
        with self.running(*arguments) as background:
            return background.finish()

    @contextmanager
    def running(self, *arguments: str | Path) -> Iterator[Background]:
        """Run a command in the background; kill it at the end of the block."""
        process = subprocess.Popen(
            [*self.prefix, COMMAND, *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield Background(process)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def done(self, *arguments: str | Path) -> Any:
        """Run a command that must succeed; return its JSON object."""
        outcome = self.run(*arguments, "--json")
        assert outcome.code == 0, outcome.stderr
        return outcome.object

    def with_environment(self, **variables: str) -> Workspace:
        return replace(self, environment={**self.environment, **variables})

    def without_environment(self, *names: str) -> Workspace:
        return replace(self, environment={name: value for name, value in self.environment.items() if name not in names})

    def write_config(self, name: str, text: str) -> str:
        """Write a config; return its path in the project."""
        path = self.root / "configs" / f"{name}.yaml"
        path.write_text(text)
        return f"configs/{name}.yaml"

    @property
    def project(self) -> Project:
        return Project(self.root)

    @property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(self.project.tracking_uri)

    def registered(self) -> dict[str, list[int]]:
        """Return the version numbers of each registered model."""
        found: dict[str, list[int]] = {}
        for entry in self.client.search_model_versions():
            found.setdefault(entry.name, []).append(int(entry.version))
        return {name: sorted(numbers) for name, numbers in found.items()}

    def production(self, name: str) -> int | None:
        version = self.client.get_registered_model(name).aliases.get("production")
        return int(version) if version is not None else None

    def runs(self, name: str) -> list[Any]:
        """Return the MLflow runs of an experiment, oldest first."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            return []
        return self.client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])

    def stage_folder(self, stage: str) -> Path:
        """Return the only stored output of a stage."""
        (folder,) = (path for path in (self.root / ".modelworks" / "stages" / stage).iterdir() if path.name[0] != ".")
        return folder

    def training_events(self) -> list[dict[str, Any]]:
        """Return the trainer's events so far."""
        events = []
        for path in (self.root / ".modelworks" / "training").glob("*/events.jsonl"):
            complete = path.read_text().rpartition("\n")[0]
            events += [json.loads(line) for line in complete.splitlines()]
        return events

    def has_checkpoint(self) -> bool:
        return any(event["type"] == "checkpoint" for event in self.training_events())


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

    The tracking store and the measured speed of one thread exist, because they take seconds.
    """

    def make(workspace: Workspace) -> None:
        from modelworks.registry.backend.tracking_store import connect

        connect(workspace.project)
        precision.choose(detect(ComputeConfig(threads=1)), precision.OPERATIONS, workspace.project.product_rates)

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
def two_versions(shared_project: Callable[..., Path], digits: Path, server_url: str) -> Path:
    """Return the digits' project after a second training with fewer epochs, which was promoted too."""

    def make(workspace: Workspace) -> Any:
        _copy(digits, workspace.root)
        changes = ("--set", "train.epochs=5", "--set", "gate.max_regression=0.9")
        why = workspace.done("why", DIGITS, *changes)
        return {
            "changes": changes,
            "why": why,
            "summary": workspace.with_environment(PREFECT_API_URL=server_url).done("run", DIGITS, *changes),
        }

    return shared_project("two-versions", make)


@pytest.fixture
def copy(tmp_path: Path, environment: dict[str, str]) -> Callable[[Path], Workspace]:
    """Return a function that copies a project."""

    def make(source: Path) -> Workspace:
        _copy(source, tmp_path / "project")
        return Workspace(tmp_path / "project", environment)

    return make


@pytest.fixture
def workspace(copy: Callable[[Path], Workspace], bare: Path, server_url: str, preloaded: Preloaded) -> Workspace:
    """Return a project without runs, and with a Prefect server."""
    return replace(copy(bare), preloaded=preloaded).with_environment(PREFECT_API_URL=server_url)


@pytest.fixture
def after_digits(copy: Callable[[Path], Workspace], digits: Path, server_url: str, preloaded: Preloaded) -> Workspace:
    """Return a project with the digits in production, and with a Prefect server."""
    return replace(copy(digits), preloaded=preloaded).with_environment(PREFECT_API_URL=server_url)


def _copy(source: Path, root: Path) -> None:
    shutil.copytree(source, root, symlinks=True, dirs_exist_ok=True)
    _move_store(root / "mlflow" / "mlflow.db", str(source), str(root))


def _move_store(database: Path, before: str, after: str) -> None:
    """Replace the root in MLflow's absolute paths."""
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
                if kind.startswith(("VARCHAR", "TEXT")):
                    connection.execute(
                        f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)",
                        (before, after, before),
                    )
