"""Projects in which tests run commands as a user does, and copies of them."""

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
from urllib.parse import quote

import psutil
import pytest
from pipelines.commands import COMMAND, DEADLINE, Outcome
from pipelines.preloaded import Preloaded

from modelworks.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Background", "Workspace", "copy_project"]


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


def copy_project(source: Path, root: Path) -> None:
    """Copy a project with its store."""
    shutil.copytree(source, root, symlinks=True, dirs_exist_ok=True)
    _move_store(root / "mlflow" / "mlflow.db", str(source), str(root))
    _move_store(root / "mlflow" / "mlflow.db", quote(str(source)), quote(str(root)))  # in URIs, e.g. a blank


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
