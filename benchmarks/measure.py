"""Time programs in turns; compute medians, ratios and their spread."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from modelworks.training.machine.processor import find

__all__ = ["ROOT", "Comparison", "alternately", "environment", "machine", "modelworks", "project", "run"]

Found = TypeVar("Found")

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = (
    *("torch", "prefect", "mlflow", "great-expectations", "dvc", "typer"),
    *("transformers", "lightning", "accelerate"),
)
OWN_VARIABLES = ("MODELWORKS_PROJECT", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME")
"""Variables of the user that measured programs must not have."""
SAME = {
    # No peer waits for a telemetry server.
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    # As ours sets it for a training: a waiting OpenMP thread spins for some microseconds before it sleeps.
    "GOMP_SPINCOUNT": "3000",
}
"""Variables that ours sets; peers get them too, so that they do not cause a difference."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A figure of ours and of a peer, measured equally often, in turns."""

    name: str
    unit: str
    ours: Sequence[float]
    peer_name: str
    peer: Sequence[float]
    target: str
    """A ratio with its direction, e.g. "<= 1.5", or a figure with the unit, e.g. "<= 3 s"; "" for none."""
    metric: str = ""
    """A metric that shows that both did the same work, e.g. "accuracy"; "" for none."""
    ours_metric: float = 0.0
    """Its mean over the runs."""
    peer_metric: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def was_run(self) -> bool:
        """Whether both sides have figures."""
        return bool(self.ours) and bool(self.peer)

    @property
    def ratio(self) -> float:
        """The ratio of the medians, ours divided by the peer's."""
        return statistics.median(self.ours) / statistics.median(self.peer)

    @property
    def ratios(self) -> list[float]:
        """The ratio of each turn."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def met(self) -> bool:
        """Whether the target is reached by the medians."""
        sign, limit, *unit = self.target.split()
        found = statistics.median(self.ours) if unit else self.ratio
        return found <= float(limit) if sign == "<=" else found >= float(limit)


def alternately(runs: int, *programs: Callable[[int], Found]) -> list[list[Found]]:
    """Call each program once per turn with the turn's number, in alternating order.

    Return their results.
    """
    found: list[list[Found]] = [[] for _ in programs]
    for turn in range(runs):
        order = range(len(programs)) if turn % 2 == 0 else reversed(range(len(programs)))
        for place in order:
            found[place].append(programs[place](turn))
    return found


def run(command: Sequence[str | Path], folder: Path, more: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Run a program; return its wall seconds and its stdout.

    Raises:
        SystemExit: it failed; the message has the end of its stderr.
    """
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env={**environment(), **(more or {})}, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds, done.stdout


def environment() -> dict[str, str]:
    """Return the environment of every measured program."""
    return {**{name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}, **SAME}


def modelworks(*arguments: str) -> list[str | Path]:
    """Return a command of the modelworks installed with this Python."""
    return [Path(sys.executable).with_name("modelworks"), *arguments]


def project(folder: Path) -> Path:
    """Create a project like a fresh clone: configs, data.dvc and DVC's settings, and no stores."""
    folder.mkdir()
    for name in ("configs", "data.dvc", ".dvc/config", ".dvcignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.exists():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, folder / name)
    return folder


def machine() -> dict[str, str]:
    """Return a description of the machine and of the libraries."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": f"{find().model}, {cores} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "libraries": ", ".join(_installed()),
        "commit": commit.stdout.strip() or "unknown",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _installed() -> list[str]:
    """Return name and version of each installed library; a GPU machine may have only a few."""
    found = []
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found
