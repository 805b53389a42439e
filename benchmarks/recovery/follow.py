"""Take one way through the three cases: killed in the middle of its training, nothing changed, a helper edited."""

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

from benchmarks.recovery.way import Observed, Way

__all__ = ["Followed", "follow"]

POLL_SECONDS = 0.02
DEADLINE = 600.0


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What one way did in the three cases, one after another in one project."""

    killed: Observed
    """The first run, killed in the middle of its training."""
    resumed: Observed
    """The run after it."""
    second: Observed
    """The same command once more, nothing changed."""
    edited: Observed
    """The same command after the edit of the helper."""


def follow(way: Way, place: Path, packages: Path | None, epochs: int) -> Followed:
    """Run all cases in a new project.

    Raises:
        SystemExit: a command failed that must not, or the training could not be killed in its middle.
    """
    way.create(place)
    (place / "home").mkdir()
    variables = way.environment(place, packages, epochs)
    for command in way.prepare:
        subprocess.run(command, cwd=place, env=variables, check=True, capture_output=True)
    run = _Runner(way, place, variables)
    killed = run(way.first_command(epochs), kill_after=epochs // 2)
    resumed = run(way.resume_command(epochs))
    second = run(way.first_command(epochs))
    way.edit(place)
    return Followed(killed=killed, resumed=resumed, second=second, edited=run(way.first_command(epochs)))


@dataclass(frozen=True)
class _Runner:
    way: Way
    place: Path
    variables: Mapping[str, str]

    def __call__(self, command: Sequence[str | Path], kill_after: int = 0) -> Observed:
        """Run a command to its end, or kill all of its processes once so many epochs have ended."""
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
                kill_after and self.way.epochs_since(self.place, started) >= kill_after
            ):
                if time.time() - started > DEADLINE:
                    raise SystemExit(f"{self.way.name}: {command} ran longer than {DEADLINE:.0f} s")
                time.sleep(POLL_SECONDS)
            if kill_after and child.poll() is not None:
                raise SystemExit(f"{self.way.name} ended with {child.returncode} before its kill:\n{_tail(log)}")
        finally:
            self._kill_all()
            code = child.wait()
        if code and not kill_after:
            print(f"  {self.way.name}: {command} ended with {code}:\n{_tail(log)}", flush=True)
        versions, open_runs = _registry(self.way.tracking_uri(self.place))
        return Observed(
            code=code,
            steps=self.way.steps_since(self.place, started, log.read_text()),
            epochs=self.way.epochs_since(self.place, started),
            versions=versions,
            open_runs=open_runs,
            seconds=time.time() - started,
        )

    def _kill_all(self) -> None:
        """Send SIGKILL to every process of this project, the servers that a tool started included."""
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get("JOURNAL") == self.variables["JOURNAL"]:
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
