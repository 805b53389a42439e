"""Run the sides in turns on one job."""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import ROOT, alternately, run
from benchmarks.trainers import jobs
from benchmarks.trainers.outcome import Outcome
from modelworks.training.hardware import environment

if TYPE_CHECKING:
    from modelworks.training.job import Job

__all__ = ["Side", "compare", "described", "missing", "train"]

NEEDS = {
    "hf": ("accelerate",),
    "hf-grouped": ("accelerate",),
    "lightning": ("lightning",),
    "accelerate": ("accelerate",),
}
"""Packages of the dependency group `bench` that a side needs; its other packages are always installed."""
TUNED = ("ours", "bare", "graphed")
"""Sides with the pipeline's environment for a training; the libraries have their default environment and as many
threads."""


@dataclass(frozen=True)
class Side:
    """A training library and its precision."""

    name: str
    """The printed name."""
    program: str
    """A key of `benchmarks.trainers.SIDES`."""
    precision: jobs.Precision


def missing(sides: Sequence[Side]) -> list[str]:
    """Return the packages that the sides need and that are not installed."""
    wanted = {package for side in sides for package in NEEDS.get(side.program, ())}
    return sorted(package for package in wanted if importlib.util.find_spec(package) is None)


def compare(job: Job, sides: Sequence[Side], runs: int, folder: Path) -> Mapping[Side, Sequence[Outcome]]:
    """Train each side once per turn, with the turn's number as the seed; return the outcomes."""
    programs = [lambda turn, side=side: train(job, side, turn, folder) for side in sides]
    return dict(zip(sides, alternately(runs, *programs), strict=True))


def train(job: Job, side: Side, seed: int, folder: Path) -> Outcome:
    """Run one training in a separate process."""
    path = jobs.for_side(job, folder / f"{side.name.replace(' ', '-')}-{seed}", seed, side.precision)
    variables = {"OMP_NUM_THREADS": str(job.hardware.threads), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if side.program in TUNED:
        variables |= environment(job.hardware)
    _, output = run([sys.executable, "-m", "benchmarks.trainers", side.program, path], ROOT, variables)
    outcome = Outcome(**json.loads(output.splitlines()[-1]))
    print(f"  {side.name}, turn {seed + 1}: {outcome.seconds:.1f} s, accuracy {outcome.accuracy:.4f}", flush=True)
    return outcome


def described(found: Mapping[Side, Sequence[Outcome]]) -> list[str]:
    """Return a line for each side: precision, speed, metrics and remark."""
    lines = []
    for side, outcomes in found.items():
        rate = statistics.median(each.examples_per_second for each in outcomes)
        tokens = statistics.median(each.tokens_per_second for each in outcomes)
        accuracy = statistics.mean(each.accuracy for each in outcomes)
        macro_f1 = statistics.mean(each.macro_f1 for each in outcomes)
        speed = f"{rate:9,.1f} examples/s" + (f" {tokens:9,.0f} real tokens/s" if tokens else "")
        metrics = f"accuracy {accuracy:.4f}  macro F1 {macro_f1:.4f}"
        remark = f"  ({outcomes[-1].remark})" if outcomes[-1].remark else ""
        lines.append(f"{side.name:<28} {side.precision} {speed}  {metrics}{remark}")
    return lines
