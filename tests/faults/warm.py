"""A process that has imported the libraries of a run and forks a command per request.

Imports take most of the time of a short run, and a sweep has hundreds of runs. Each command is a separate process with
its own environment and session. Its child processes (trainer, isolated process, server) start normally.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

__all__ = ["Warm"]

TESTS = str(Path(__file__).parents[1])


class Warm:
    """A client of the forking process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: used for the imports; each command has its own too."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONPATH": os.pathsep.join([TESTS, *filter(None, [environment.get("PYTHONPATH")])])},
        )

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: tuple[Path, Path]
    ) -> int:
        """Run a `modelworks` command; return its exit code, negative for a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = [list(arguments), str(folder), dict(environment), [str(each) for each in output]]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()


def _import() -> None:
    """Import everything that a run imports in its process."""
    import dvc.repo
    import great_expectations
    import matplotlib.figure
    import mlflow.pyfunc
    import torch

    import flows.training
    import modelworks.cli.main
    import modelworks.cli.run
    from modelworks.evaluation import evaluate
    from modelworks.validation import expectation_suite

    assert all(
        (dvc.repo, great_expectations, matplotlib.figure, mlflow.pyfunc, torch, modelworks.cli.main, modelworks.cli.run)
    )
    assert flows.training
    expectation_suite.preload()
    evaluate.preload()


def _become(arguments: list[str], folder: str, environment: dict[str, str], output: list[str]) -> NoReturn:
    """Turn this process into the command, in its own session."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(output, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.argv = ["modelworks", *arguments]
    from modelworks.cli.main import main

    main()
    sys.exit(0)


def main() -> None:
    """Fork a command for every request line."""
    _import()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _become(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()
