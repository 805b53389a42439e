"""Compare a first run with a plain script, and a second run with `dvc repro`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.measure import ROOT, Comparison, alternately, modelworks, project, run
from benchmarks.products import choice
from benchmarks.whole_run.repro import prepare
from modelworks.models.config import Cnn

__all__ = ["CONFIG", "SECOND_RUNS", "first", "first_run", "nothing_to_do", "second_run"]

CONFIG = "configs/mnist_cnn.yaml"
SECOND_RUNS = 3
"""The minimum number of second runs, which are short."""


def first_run(runs: int, folder: Path) -> list[Comparison]:
    """Time first runs, each with its own stores below `folder`."""

    precision = choice(Cnn.operations, folder, threads=2).precision  # with the number of threads of the config
    taken = set()

    def ours(turn: int) -> float:
        seconds, ours_precision = first(folder / f"ours-{turn}")
        taken.add(ours_precision)
        return seconds

    def plain(turn: int) -> float:
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "benchmarks.whole_run.plain",
            folder / f"plain-{turn}",
            precision,
        ]
        seconds, output = run(command, ROOT)
        assert json.loads(output.splitlines()[-1])["version"] == 1
        return seconds

    ours_seconds, plain_seconds = alternately(runs, ours, plain)
    return [
        Comparison(
            name="first run, empty stores to production",
            unit="s",
            ours=ours_seconds,
            peer_name="plain script",
            peer=plain_seconds,
            target="<= 1.35",
            notes=(
                f"ours in {' and '.join(sorted(taken))}, measured before on this machine; the plain script in {precision}",
            ),
        )
    ]


def second_run(runs: int, folder: Path) -> list[Comparison]:
    """Time runs with nothing to do, after a first run of each side."""
    place, repository = folder / "ours", folder / "dvc"
    first(place)
    repro_first = prepare(repository)

    def repro(_turn: int) -> float:
        seconds, output = run([sys.executable, "-m", "dvc", "repro"], repository)
        assert "up to date" in output, output
        return seconds

    ours_seconds, repro_seconds = alternately(max(runs, SECOND_RUNS), lambda _: nothing_to_do(place), repro)
    return [
        Comparison(
            name="second run, nothing to do",
            unit="s",
            ours=ours_seconds,
            peer_name="dvc repro",
            peer=repro_seconds,
            target="<= 1 s",
            notes=(f"the first dvc repro, of the plain script, took {repro_first:.1f} s",),
        )
    ]


def nothing_to_do(place: Path) -> float:
    """Run the config in a project that is up to date and return the seconds."""
    seconds, output = run(modelworks("run", CONFIG, "--json"), place)
    outcomes = set(json.loads(output)["stages"].values())
    assert outcomes == {"verified", "cached"}, f"there was something to do: {outcomes}"
    return seconds


def first(place: Path) -> tuple[float, str]:
    """Run the config in a fresh project and return the seconds, and the precision of its training."""
    seconds, output = run(modelworks("run", CONFIG, "--json"), project(place))
    summary = json.loads(output)
    assert set(summary["stages"].values()) == {"ran"}, f"not a first run: {summary['stages']}"
    assert summary["production"] == summary["version"] == 1
    return seconds, summary["hardware"]["precision"]
