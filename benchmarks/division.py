"""Where the seconds of a first run go, as far as it can be told from outside.

The run is started once more with PYTHONPROFILEIMPORTTIME, under which Python writes a line per imported module, and
every line on stderr is noted with the time it came. The trainer's lines are in its log. Measuring imports makes them
slower by a tenth or so; the figures that are compared come from runs without it.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import environment, modelworks

__all__ = ["divide"]

_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|")
_STAGE = re.compile(r"\s*[\d.]+  (\w+)\s+ran\s+([\d.]+) s")


@dataclass(frozen=True)
class _Line:
    seconds: float
    """Since the run was started."""
    text: str


def divide(place: Path, config: str) -> tuple[str, ...]:
    """Run a config in a fresh project and say how its seconds divide."""
    started = time.monotonic()
    child = subprocess.Popen(
        modelworks("run", config, "--json"),
        cwd=place,
        env={**environment(), "PYTHONPROFILEIMPORTTIME": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    assert child.stdout is not None
    server = _Watch(place, started, child)
    lines = [_Line(time.monotonic() - started, text) for text in child.stderr]
    child.stdout.read()
    if child.wait():
        raise SystemExit(f"{config} ended with {child.returncode}:\n" + "".join(line.text for line in lines[-20:]))
    wall = time.monotonic() - started
    server.join()

    trained = next(place.glob(".modelworks/stages/train/*"))
    training = float(json.loads((trained / "record.json").read_text())["seconds"])
    trainer = _imports((trained / "log.txt").read_text().splitlines())
    after = _imports(line.text for line in lines if line.seconds > server.seconds)
    stages = {found[1]: float(found[2]) for line in lines if (found := _STAGE.match(line.text))}
    return (
        f"one run with imports measured: {wall:.1f} s",
        f"  {server.seconds:5.1f} s  until Prefect's server answers (modules imported meanwhile are hidden in it)",
        f"  {after:5.1f} s  imports of the run's own process after that",
        f"  {trainer:5.1f} s  imports of the trainer",
        f"  {training:5.1f} s  training",
        f"  {wall - server.seconds - after - trainer - training:5.1f} s  everything else (target <= 8)",
        "  stages, imports within: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items()),
    )


class _Watch(threading.Thread):
    """Notes when Prefect's server first answers."""

    def __init__(self, place: Path, since: float, child: subprocess.Popen[str]) -> None:
        super().__init__()
        self.seconds = 0.0
        self._place, self._since, self._child = place, since, child
        self.start()

    def run(self) -> None:
        while self._child.poll() is None and not self._answers():
            time.sleep(0.05)
        self.seconds = time.monotonic() - self._since

    def _answers(self) -> bool:
        for notice in self._place.glob(".modelworks/prefect/api-*.json"):
            try:
                url = json.loads(notice.read_text())["url"]
                with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
                    return bool(answer.status == 200)
            except (OSError, ValueError, urllib.error.URLError):
                return False
        return False


def _imports(lines: Iterable[str]) -> float:
    """Seconds in imports, by the own time of each module."""
    return sum(int(found[1]) for line in lines if (found := _IMPORT.search(line))) / 1e6
