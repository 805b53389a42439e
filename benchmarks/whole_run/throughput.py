"""Compare the training throughput inside the pipeline with a bare PyTorch loop."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.measure import ROOT, Comparison, alternately, modelworks, project, run
from benchmarks.products import choice
from modelworks.models.config import Cnn
from modelworks.training.hardware import environment

__all__ = ["measure"]


def measure(runs: int, folder: Path) -> list[Comparison]:
    """Measure with another seed in each turn, so that nothing is cached."""
    place = project(folder / "throughput")

    def ours(turn: int) -> float:
        # Seeds are not compared here, and a rejected version would be an error.
        changes = ("--set", f"train.seed={turn}", "--set", "gate.max_regression=0.9")
        _, output = run(modelworks("run", "configs/mnist_cnn.yaml", *changes, "--json"), place)
        assert json.loads(output)["stages"]["train"] == "ran"
        newest = max(place.glob(".modelworks/stages/train/*/record.json"), key=lambda path: path.stat().st_mtime)
        return float(json.loads(newest.read_text())["examples_per_second"])

    hardware = choice(Cnn.operations, folder, threads=2)
    variables = environment(hardware)  # as the pipeline starts a training

    def bare(turn: int) -> float:
        _, output = run(
            [sys.executable, "-m", "benchmarks.whole_run.bare", str(turn), hardware.precision], ROOT, variables
        )
        return float(output.splitlines()[-1])

    ours_rates, bare_rates = alternately(runs, ours, bare)
    return [
        Comparison(
            name="training throughput, tracked",
            unit="examples/s",
            ours=ours_rates,
            peer_name="bare PyTorch loop",
            peer=bare_rates,
            target=">= 0.95",
            notes=(f"the bare loop in {hardware.precision}, which `auto` takes here",),
        )
    ]
