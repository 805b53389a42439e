"""One tool with the digits pipeline: its files, its commands, and the observations of each command."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import environment

__all__ = ["PIPELINES", "Observed", "Tool"]

PIPELINES = Path(__file__).with_name("pipelines")
PYTHON = sys.executable


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The observations of one command."""

    code: int
    """Its exit code; negative for a signal."""
    steps: tuple[str, ...]
    """The steps that finished, in order, without steps whose result was reused."""
    epochs: int
    """Number of trained epochs."""
    versions: int
    """Number of versions in the registry afterwards."""
    open_runs: int
    """Number of MLflow runs that are still RUNNING afterwards."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool that runs the steps of `pipelines/steps.py`."""

    name: str
    files: Mapping[str, str]
    """Files and folders below `pipelines/`, and their names in the project."""
    command: tuple[str, ...]
    """The command that runs the pipeline."""
    resume: tuple[str, ...] = ()
    """The documented command to continue after a failure; the same command if empty."""
    prepare: tuple[tuple[str, ...], ...] = ()
    """Commands to run once in a new project."""
    packages: tuple[str, ...] = ()
    """Requirements to install to a temporary folder; empty if the project has them."""
    constrained: bool = True
    """Whether their dependencies have the versions of requirements.lock."""
    variables: Mapping[str, str] = field(default_factory=dict)
    documented: tuple[str, str, str] = ("", "", "")
    """From the tool's documentation, if the packages cannot be installed: after kill -9, the second run, after the
    edit."""
    settings: str = ""
    """Settings of the tool, printed below the table."""

    def create(self, place: Path) -> None:
        """Write the project's files into a new folder."""
        place.mkdir(parents=True)
        for source, name in {**self.files, "steps.py": "steps.py", "loss.py": "loss.py"}.items():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (PIPELINES / source).is_dir():
                shutil.copytree(PIPELINES / source, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(PIPELINES / source, target)

    def environment(self, place: Path, packages: Path | None, epochs: int) -> dict[str, str]:
        """Return the variables of every command.

        `packages` is the folder with the installed packages.
        """
        path = [str(place), *([str(packages)] if packages else [])]
        return {
            **environment(),
            "HOME": str(place / "home"),
            "PATH": os.pathsep.join([str(Path(PYTHON).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(path),
            "PROJECT": str(place),
            "STEP_EVENTS": str(place / "steps.jsonl"),
            "EPOCHS": str(epochs),
            **self.variables,
        }

    def first_command(self, epochs: int) -> Sequence[str | Path]:
        """Return the command that runs the pipeline."""
        return self.command

    def resume_command(self, epochs: int) -> Sequence[str | Path]:
        """Return the command after the kill."""
        return self.resume or self.first_command(epochs)

    def tracking_uri(self, place: Path) -> str:
        """Return the address of the project's MLflow store."""
        return f"sqlite:///{place / 'mlflow.db'}"

    def epochs_since(self, place: Path, started: float) -> int:
        """Return how many epochs ended since a Unix time."""
        return sum(each["event"] == "epoch" for each in self._events(place, started))

    def steps_since(self, place: Path, started: float, log: str) -> tuple[str, ...]:
        """Return the steps that ended since a Unix time; `log` is the command's output."""
        return tuple(str(each["step"]) for each in self._events(place, started) if each["event"] == "end")

    def edit(self, place: Path) -> None:
        """Change the result of a function that the loss calls."""
        replace_once(place / "loss.py", "SMOOTHING = 0.1", "SMOOTHING = 0.2")

    def _events(self, place: Path, started: float) -> list[dict[str, object]]:
        path = place / "steps.jsonl"
        complete = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return [event for line in complete.splitlines() if (event := json.loads(line))["time"] >= started]


def replace_once(path: Path, old: str, new: str) -> None:
    """Replace a text that must occur exactly once in a file."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path} contains {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
