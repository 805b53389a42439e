"""A project for fault tests, at a fixed path, whose states are saved and restored."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pipelines.commands import COMMAND, DEADLINE, REPOSITORY, Outcome, environment_at
from pipelines.preloaded import Preloaded

from modelworks.fault_injection import TRACE, VARIABLE
from modelworks.project import Project

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrCanaryEMIK7MDENGbPxRfiCYzq",
    "TEAM_TOKEN": "ghp_canaryK2vQ8wLr5tYxZ1nB4mC7dF0",
}
"""Secrets in the environment of every command, which must not be stored."""

SMALL = {"train.epochs": "3", "train.checkpoint_steps": "40", "compute.threads": "1", "evaluate.resamples": "200"}
TRANSFORMER = """
name: opinions
source: {kind: table, path: opinions.jsonl, text: words, label: opinion}
model: {kind: transformer, vocabulary: 400, max_tokens: 12, width: 16, layers: 1, heads: 2}
train: {epochs: 4, batch_size: 16, learning_rate: 0.01, checkpoint_steps: 20}
compute: {threads: 1}
evaluate: {resamples: 200}
gate: {minimums: {accuracy: 0.5}, compare: accuracy}
"""
WORDS = {"good": ("wonderful", "excellent", "lovely", "schön"), "bad": ("terrible", "awful", "horrid", "übel")}
THINGS = ("film", "book", "café", "phone", "garden", "meal")


@dataclass(frozen=True)
class Pipeline:
    """A config with its kind, model and data set names."""

    kind: str
    config: str
    model: str
    dataset: str
    changes: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """Return the arguments of `modelworks run`."""
        changes = [word for name, value in self.changes.items() for word in ("--set", f"{name}={value}")]
        return ["run", self.config, "--json", *changes]


PIPELINES = {
    "cnn": Pipeline(
        "cnn", "configs/digits_cnn.yaml", "digits-cnn", "digits", {**SMALL, "gate.minimums.accuracy": "0.5"}
    ),
    "transformer": Pipeline("transformer", "configs/opinions.yaml", "opinions", "opinions"),
}


class FaultWorkspace:
    """A project with saved states, and its commands."""

    def __init__(self, folder: Path, pipeline: Pipeline, server_url: str = "") -> None:
        """`server_url`: of a Prefect server shared by all runs; empty for one server per run."""
        self.root, self.pipeline, self._kept = folder / "project", pipeline, folder / "kept"
        self.preloaded: Preloaded | None = None
        """The process that commands are forked from; None to start each as a new process."""
        home = folder / "home"
        self.environment = {
            **environment_at(home),
            **SECRETS,
            "OMP_NUM_THREADS": "1",
            **({"PREFECT_API_URL": server_url} if server_url else {}),
        }

    @contextmanager
    def prestarted(self) -> Iterator[None]:
        """Fork commands from a process that has imported the libraries; they share a Prefect server."""
        with Preloaded(self.environment, self.root.with_name("preloaded")) as self.preloaded:
            yield
        self.preloaded = None

    @property
    def project(self) -> Project:
        return Project(self.root)

    def with_pipeline(self, pipeline: Pipeline) -> FaultWorkspace:
        """Return the same project with another pipeline."""
        other = copy.copy(self)
        other.pipeline = pipeline
        return other

    def clear(self) -> None:
        """Reset the project to a config and a source."""
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "configs").mkdir(parents=True)
        config = self.root / self.pipeline.config
        if self.pipeline.kind == "cnn":
            shutil.copy(REPOSITORY / self.pipeline.config, config)
        else:
            config.write_text(TRANSFORMER)
            write_opinions(self.root)

    def save(self, name: str) -> None:
        """Save the current state."""
        shutil.rmtree(self._kept / name, ignore_errors=True)
        shutil.copytree(self.root, self._kept / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Restore a saved state at the same path."""
        shutil.rmtree(self.root)
        shutil.copytree(self._kept / name, self.root, symlinks=True)

    def run(self, *, fault: str = "", trace: Path | None = None, alone: bool = False) -> Outcome:
        """Run the pipeline to its end or until it is killed.

        Args:
            fault: the fault point to die at.
            trace: a file for the passed fault points.
            alone: whether to use a separate Prefect server.
        """
        return self.command(*self.pipeline.arguments(), fault=fault, trace=trace, alone=alone)

    def command(self, *arguments: str, fault: str = "", trace: Path | None = None, alone: bool = False) -> Outcome:
        if self.preloaded is not None and not alone:
            return self.preloaded.run(arguments, self.root, self._with(fault, trace, alone))
        started = time.monotonic()
        with self.running(*arguments, fault=fault, trace=trace, alone=alone) as process:
            stdout, stderr = process.communicate(timeout=DEADLINE)
        # The server of a killed run ends a moment later.
        psutil.wait_procs(self._servers(), DEADLINE)
        return Outcome(process.returncode, stdout, stderr, time.monotonic() - started)

    def _servers(self) -> list[psutil.Process]:
        """Return the servers that were started for this project."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):  # it ended meanwhile
                if (
                    process.environ().get("MODELWORKS_PROJECT") == str(self.root)
                    and "modelworks.servers.prefect_server" in process.cmdline()
                ):
                    found.append(process)
        return found

    @contextmanager
    def running(
        self, *arguments: str, fault: str = "", trace: Path | None = None, alone: bool = False
    ) -> Iterator[subprocess.Popen[str]]:
        """Run a command in the background, in its own process group, which is killed at the end."""
        process = subprocess.Popen(
            [COMMAND, *(arguments or self.pipeline.arguments())],
            cwd=self.root,
            env=self._with(fault, trace, alone),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def _with(self, fault: str, trace: Path | None, alone: bool) -> dict[str, str]:
        environment = {**self.environment, **({VARIABLE: fault} if fault else {})}
        if trace is not None:
            environment[TRACE] = str(trace)
        if alone:
            environment.pop("PREFECT_API_URL", None)
        return environment


def passed(trace: Path) -> list[str]:
    """Return the fault points in a trace without duplicates, in order."""
    return list(dict.fromkeys(trace.read_text().splitlines())) if trace.exists() else []


def write_opinions(root: Path) -> None:
    """Write the rows that the config `TRANSFORMER` reads."""
    (root / "opinions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _opinions(200)))


def _opinions(count: int) -> list[dict[str, str]]:
    rows = []
    for number in range(count):
        opinion = ("good", "bad")[number % 2]
        word, thing = WORDS[opinion][number // 2 % 4], THINGS[number // 8 % 6]
        rows.append({"opinion": opinion, "words": f"a {word} {thing}, number {number} of them"})
    return rows
