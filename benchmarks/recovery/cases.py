"""Run the cases of one tool: killed in the middle of its training, nothing changed, a helper edited."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.recovery.tool import Observed, Tool

__all__ = ["Cases", "run_cases"]

POLL_SECONDS = 0.02
DEADLINE = 600.0


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The observations of one tool, one case after another in one project."""

    killed: Observed
    """The first run, killed in the middle of its training."""
    resumed: Observed
    """The run after it."""
    second: Observed
    """The same command once more, nothing changed."""
    edited: Observed
    """The same command after the edit of the helper."""


def run_cases(tool: Tool, place: Path, packages: Path | None, epochs: int) -> Cases:
    """Run all cases in a new project.

    Raises:
        SystemExit: a required command failed, or the training ended before it could be killed.
    """
    tool.create(place)
    (place / "home").mkdir()
    variables = tool.environment(place, packages, epochs)
    for command in tool.prepare:
        subprocess.run(command, cwd=place, env=variables, check=True, capture_output=True)
    run = _Runner(tool, place, variables)
    killed = run(tool.first_command(epochs), kill_after=epochs // 2)
    resumed = run(tool.resume_command(epochs))
    second = run(tool.first_command(epochs))
    tool.edit(place)
    return Cases(killed=killed, resumed=resumed, second=second, edited=run(tool.first_command(epochs)))


@dataclass(frozen=True)
class _Runner:
    tool: Tool
    place: Path
    variables: Mapping[str, str]

    def __call__(self, command: Sequence[str | Path], kill_after: int = 0) -> Observed:
        """Run a command until it ends, or kill all of its processes after `kill_after` epochs."""
        log = self.place / "log.txt"
        started = time.time()
        with log.open("w") as output:
            child = subprocess.Popen(
                command,
                cwd=self.place,
                env=dict(self.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while child.poll() is None and not (
                kill_after and self.tool.epochs_since(self.place, started) >= kill_after
            ):
                if time.time() - started > DEADLINE:
                    raise SystemExit(f"{self.tool.name}: {command} ran longer than {DEADLINE:.0f} s")
                time.sleep(POLL_SECONDS)
            if kill_after and child.poll() is not None:
                raise SystemExit(f"{self.tool.name} ended with {child.returncode} before its kill:\n{_tail(log)}")
        finally:
            self._kill_all()
            code = child.wait()
        if code and not kill_after:
            print(f"  {self.tool.name}: {command} ended with {code}:\n{_tail(log)}", flush=True)
        versions, open_runs = _registry(self.tool.tracking_uri(self.place))
        return Observed(
            code=code,
            steps=self.tool.steps_since(self.place, started, log.read_text()),
            epochs=self.tool.epochs_since(self.place, started),
            versions=versions,
            open_runs=open_runs,
            seconds=time.time() - started,
        )

    def _kill_all(self) -> None:
        """Send SIGKILL to every process of this project, including servers that a tool started."""
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get("STEP_EVENTS") == self.variables["STEP_EVENTS"]:
                    process.send_signal(signal.SIGKILL)


def _registry(uri: str) -> tuple[int, int]:
    """Return the number of registered versions, and of MLflow runs that are RUNNING."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    return len(client.search_model_versions()), len(running)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-15:])
