"""Compare `modelworks --help` with an interpreter that only imports typer."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.measure import Comparison, alternately, modelworks, run

__all__ = ["measure"]

REPETITIONS = 10


def measure(runs: int, folder: Path) -> list[Comparison]:
    """Time `REPETITIONS` times as many runs as requested, after one uncounted run of each."""
    programs = (modelworks("--help"), [sys.executable, "-c", "import typer"])
    for program in programs:
        run(program, folder)
    ours, peer = alternately(runs * REPETITIONS, *(lambda _, each=each: run(each, folder)[0] for each in programs))
    return [
        Comparison(name="modelworks --help", unit="s", ours=ours, peer_name="import typer", peer=peer, target="<= 2")
    ]
