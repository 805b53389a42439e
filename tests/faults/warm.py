"""A process that has imported what a run imports, and forks a command for every line it is given.

Most of a short run's time goes into imports, and a sweep makes hundreds of runs. Each is a process of its own, with its
own environment, session and end; only its libraries are there already. What such a run does not import itself (its
trainer, its witness, its server) starts as ever.
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
    """The forking process, from outside."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: what the libraries find when they are imported; each command brings its own besides."""
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
        """A command of `modelworks` to its end; its exit code, negative for the signal that killed it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = [list(arguments), str(folder), dict(environment), [str(each) for each in output]]
        self._process.stdin.write(json.dumps(asked) + "\n")
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
    """All that a run imports in its own process."""
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
    """Be that command, in a session of its own."""
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
    """Fork until nobody asks any more."""
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
