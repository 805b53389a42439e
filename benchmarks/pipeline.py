"""A first run from empty stores to production against one plain script; a second run against `dvc repro`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from benchmarks.division import divide
from benchmarks.measure import ROOT, Comparison, alternately, modelworks, project, run
from benchmarks.products import choice
from benchmarks.repro import prepare
from modelworks.files.digest import md5_digest
from modelworks.files.digest_memo import snapshot
from modelworks.project import Project

__all__ = ["measure"]

CONFIG = "configs/mnist_cnn.yaml"
NOTHING_TO_DO = 3
"""Repetitions at least; they are short."""
LARGE = 10 * 10**9
"""Bytes of the large data set."""


def measure(runs: int, folder: Path) -> list[Comparison]:
    """Both comparisons, in stores of their own below `folder`."""

    precision = choice("image", folder, threads=2).precision  # as the config has it
    taken = set()

    def ours(turn: int) -> float:
        place = project(folder / f"ours-{turn}")
        seconds, output = run(modelworks("run", CONFIG, "--json"), place)
        summary = json.loads(output)
        assert set(summary["stages"].values()) == {"ran"}, f"not a first run: {summary['stages']}"
        assert summary["production"] == summary["version"] == 1
        taken.add(summary["hardware"]["precision"])
        return seconds

    def plain(turn: int) -> float:
        seconds, output = run([sys.executable, "-m", "benchmarks.plain", folder / f"plain-{turn}", precision], ROOT)
        assert json.loads(output.splitlines()[-1])["version"] == 1
        return seconds

    ours_seconds, plain_seconds = alternately(runs, ours, plain)
    first = Comparison(
        name="first run, empty stores to production",
        unit="s",
        ours=ours_seconds,
        peer_name="plain script",
        peer=plain_seconds,
        target="<= 1.5",
        notes=(
            f"ours in {' and '.join(sorted(taken))}, by a measurement in each run; the plain script in {precision}",
            *divide(project(folder / "divided"), CONFIG),
        ),
    )
    more = max(runs, NOTHING_TO_DO)
    return [first, _nothing_to_do(more, folder), _large(more, folder)]


def _nothing_to_do(runs: int, folder: Path) -> Comparison:
    place = folder / "ours-0"
    repository = folder / "dvc"
    first = prepare(repository)

    def ours(_turn: int) -> float:
        seconds, output = run(modelworks("run", CONFIG, "--json"), place)
        outcomes = set(json.loads(output)["stages"].values())
        assert outcomes == {"verified", "cached"}, f"there was something to do: {outcomes}"
        return seconds

    def repro(_turn: int) -> float:
        seconds, output = run([sys.executable, "-m", "dvc", "repro"], repository)
        assert "up to date" in output, output
        return seconds

    ours_seconds, repro_seconds = alternately(runs, ours, repro)
    return Comparison(
        name="second run, nothing to do",
        unit="s",
        ours=ours_seconds,
        peer_name="dvc repro",
        peer=repro_seconds,
        target="<= 3 s",
        notes=(f"the first dvc repro, of the plain script, took {first:.1f} s",),
    )


def _large(runs: int, folder: Path) -> Comparison:
    """Nothing to do with a data set of 10 GB: a sparse file, of which it is noted what it holds, as after reading it."""
    small, large = folder / "ours-0", folder / "ours-large"
    shutil.copytree(small, large, symlinks=True)
    (examples,) = (large / "data").glob("mnist5k/examples.parquet")
    digest = md5_digest(examples)
    os.truncate(examples, LARGE)
    os.utime(examples, (0, 0))
    Project(large).memo.remember({examples: (snapshot(examples), digest)}, "md5")

    def nothing(place: Path) -> float:
        seconds, output = run(modelworks("run", CONFIG, "--json"), place)
        outcomes = set(json.loads(output)["stages"].values())
        assert outcomes == {"verified", "cached"}, f"there was something to do: {outcomes}"
        return seconds

    nothing(large)  # its other files are new to it
    large_seconds, small_seconds = alternately(runs, lambda _: nothing(large), lambda _: nothing(small))
    return Comparison(
        name="nothing to do, data set of 10 GB",
        unit="s",
        ours=large_seconds,
        peer_name="5,000 rows",
        peer=small_seconds,
        target="<= 1.2",
    )
