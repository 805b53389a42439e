"""Divide the time of a first run into start, imports, training and the rest.

The run is repeated with PYTHONPROFILEIMPORTTIME, which makes Python print a line per imported module. The time of each
line on stderr is recorded. The server's and the trainer's lines are in their logs. Import profiling slows imports by
about a tenth; the compared figures are from runs without it.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import environment, modelworks, project
from benchmarks.report import Table
from benchmarks.whole_run.first_and_second_run import CONFIG

__all__ = ["measure"]

_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|")
_FIRST_STAGE = re.compile(r"\s*[\d.]+  ingest\s+\.\.\.")
_STAGE = re.compile(r"\s*[\d.]+  (\w+)\s+ran\s+([\d.]+) s")


@dataclass(frozen=True)
class _Line:
    seconds: float
    """Seconds since the start of the run."""
    text: str


def measure(_runs: int, folder: Path) -> Table:
    """Run a config once in a fresh project and show the time of its parts."""
    return Table(notes=_divide(project(folder / "project"), CONFIG))


def _divide(place: Path, config: str) -> tuple[str, ...]:
    lines, wall = _run(place, config)
    start = next(line.seconds for line in lines if _FIRST_STAGE.match(line.text))
    before = _imports(line.text for line in lines if line.seconds <= start)
    after = _imports(line.text for line in lines if line.seconds > start)
    server = _imports((place / ".modelworks/prefect/server.log").read_text().splitlines())
    trained = next(place.glob(".modelworks/stages/train/*"))
    trainer = _imports((trained / "log.txt").read_text().splitlines())
    training = float(json.loads((trained / "record.json").read_text())["seconds"])
    stages = {found[1]: float(found[2]) for line in lines if (found := _STAGE.match(line.text))}
    return (
        f"one run with imports measured: {wall:.1f} s",
        f"  {start:5.1f} s  until the first stage: Prefect's server starts ({server:.1f} s of it imports) while the run",
        f"           imports ({before:.1f} s) and makes the tracking store",
        f"  {after:5.1f} s  imports of the run's own process after that",
        f"  {trainer:5.1f} s  imports of the trainer",
        f"  {training:5.1f} s  training",
        f"  {wall - start - after - trainer - training:5.1f} s  everything else (target <= 8)",
        "  stages, imports within: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items()),
    )


def _run(place: Path, config: str) -> tuple[list[_Line], float]:
    """Run a config; return the lines on stderr with their times, and the wall seconds.

    Raises:
        SystemExit: the run failed.
    """
    started = time.monotonic()
    with (place / "summary.json").open("w") as summary:
        child = subprocess.Popen(
            modelworks("run", config, "--json"),
            cwd=place,
            env={**environment(), "PYTHONPROFILEIMPORTTIME": "1"},
            stdout=summary,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert child.stderr is not None
    lines = [_Line(time.monotonic() - started, text) for text in child.stderr]
    if child.wait():
        raise SystemExit(f"{config} ended with {child.returncode}:\n" + "".join(line.text for line in lines[-20:]))
    return lines, time.monotonic() - started


def _imports(lines: Iterable[str]) -> float:
    """Return the seconds in imports, the sum of each module's own time."""
    return sum(int(found[1]) for line in lines if (found := _IMPORT.search(line))) / 1e6
