"""Timing programs side by side, and saying what came out: medians, ratios, their spread."""

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
"""What a shell may have set and a measurement must not see."""
SAME = {
    # No peer waits for a telemetry host.
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    # As ours sets it for a training: a compute thread that waits looks for some microseconds before it sleeps.
    "GOMP_SPINCOUNT": "3000",
}
"""What ours sets and a peer gets as well, so that none of them is the reason for a difference."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure of ours beside a peer's, each measured as often as the other, in turns."""

    name: str
    unit: str
    ours: Sequence[float]
    peer_name: str
    peer: Sequence[float]
    target: str
    """A ratio with its direction, e.g. "<= 1.5", or a figure with the unit, e.g. "<= 3 s"; "" for none."""
    metric: str = ""
    """What shows that both did the same work as well as the other, e.g. "accuracy"; "" for nothing to show."""
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
        """Of the medians, ours by the peer's."""
        return statistics.median(self.ours) / statistics.median(self.peer)

    @property
    def ratios(self) -> list[float]:
        """Turn by turn: a machine that slows down slows both of a turn."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def met(self) -> bool:
        """Whether the target is reached by the medians."""
        sign, limit, *unit = self.target.split()
        found = statistics.median(self.ours) if unit else self.ratio
        return found <= float(limit) if sign == "<=" else found >= float(limit)


def alternately(runs: int, *programs: Callable[[int], Found]) -> list[list[Found]]:
    """Call each program once per turn with the turn's number; what each found. The order turns with the turns."""
    found: list[list[Found]] = [[] for _ in programs]
    for turn in range(runs):
        order = range(len(programs)) if turn % 2 == 0 else reversed(range(len(programs)))
        for place in order:
            found[place].append(programs[place](turn))
    return found


def run(command: Sequence[str | Path], folder: Path, more: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Wall seconds and stdout of a program from its start to its end.

    Raises:
        SystemExit: it failed; its last words are shown.
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
    """The variables every measured program starts with."""
    return {**{name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}, **SAME}


def modelworks(*arguments: str) -> list[str | Path]:
    """The command line as it is installed beside this Python."""
    return [Path(sys.executable).with_name("modelworks"), *arguments]


def project(folder: Path) -> Path:
    """A project as a fresh clone has it: configs, the data's pin and DVC's settings, and no store."""
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
    """What the figures were measured on, and with what."""
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
    """Name and version of each library that is here: a bare GPU machine has few of them."""
    found = []
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found
