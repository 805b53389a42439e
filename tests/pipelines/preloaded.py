"""A process that has imported the libraries of a run and forks a command per request.

Imports take most of the time of a short run, and a sweep has hundreds of runs. Each command is a separate process with
its own environment and session. Its child processes (trainer, isolated process, server) start normally.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from pipelines.commands import Outcome

from modelworks.project import Project

__all__ = ["Preloaded"]

TESTS = str(Path(__file__).parents[1])


class Preloaded:
    """A client of the forking process, which starts with the first command."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        """Take the environment of the commands and a folder for files.

        Args:
            environment: the user's environment with the address of a Prefect server. Prefect reads it when imported, so
                a command with another address needs another process.
            folder: for the output of commands and for Prefect's home, which its import creates.
        """
        self._environment, self._folder = environment, folder
        self._process: subprocess.Popen[str] | None = None

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Return whether an environment differs only in variables that are read after the imports: our own."""
        names = {*self._environment, *environment}
        different = {name for name in names if self._environment.get(name) != environment.get(name)}
        return all(name.startswith("MODELWORKS_") for name in different)

    def run(self, arguments: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> Outcome:
        """Run a `modelworks` command in a folder until it ends."""
        if self._process is None:
            self._process = self._start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        output = [self._folder / "stdout", self._folder / "stderr"]
        request = [[str(each) for each in arguments], str(folder), dict(environment), [str(each) for each in output]]
        started = time.monotonic()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
        except BaseException:  # e.g. pytest's time-out: the answer would be taken for that of the next command
            self._process.kill()
            self.stop()
            raise
        return Outcome(code, *(path.read_text() for path in output), time.monotonic() - started)

    def stop(self) -> None:
        """End the process, if it was started."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Preloaded:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def _start(self) -> subprocess.Popen[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join([TESTS, *filter(None, [self._environment.get("PYTHONPATH")])])
        own = {"PREFECT_HOME": str(self._folder / "prefect"), "PYTHONPATH": paths}
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.preloaded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**self._environment, **Project(self._folder).environment(), **own},
        )


def _import() -> None:
    """Import what commands import, so that a forked one has no imports left."""
    import dvc.repo
    import filelock
    import great_expectations
    import grimp
    import matplotlib.figure
    import mlflow.pyfunc
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store
    import mlflow.system_metrics.system_metrics_monitor
    import torch

    import flows.training
    import modelworks
    import modelworks.cli.run
    from modelworks.evaluation import evaluate
    from modelworks.validation import expectation_suite

    assert all((dvc.repo, filelock, great_expectations, grimp, matplotlib.figure, mlflow.store, mlflow.system_metrics))
    assert all((torch, flows.training, modelworks.cli.run))
    for package in (modelworks.cli, modelworks.registry, modelworks.objectives, modelworks.pipeline):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    expectation_suite.preload()
    evaluate.preload()


def _become(arguments: list[str], folder: str, environment: dict[str, str], output: list[str]) -> int:
    """Turn this process into the command, in its own session; return its exit code."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(output, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.argv = ["modelworks", *arguments]
    from modelworks.cli.main import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _leave(code: int) -> NoReturn:
    """End the process without clearing its modules, which takes half a second for those of a run."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Fork a command for every request line."""
    codes = [1]  # that of a command that ends with an unexpected exception
    atexit.register(lambda: _leave(codes[-1]))  # the first one registered runs after those of the libraries
    _import()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            codes.append(_become(*json.loads(line)))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    codes.append(0)


if __name__ == "__main__":
    main()
