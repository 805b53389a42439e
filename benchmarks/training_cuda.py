"""Compare the training loops on a GPU machine with only the trainer's libraries.

Missing peers are not run.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Comparison
from benchmarks.trainers import jobs
from benchmarks.trainers.flops import peak, per_example
from benchmarks.trainers.outcome import Outcome
from benchmarks.trainers.session import Side, compare, described, missing

if TYPE_CHECKING:
    from modelworks.training.job import Job

__all__ = ["cnn", "transformer"]

OURS = Side("ours", "ours", "bf16")
GRAPHED = Side("bare CUDA-graphed loop", "graphed", "bf16")
HF = Side("HF Trainer", "hf", "fp32")
HF_BF16 = Side("HF Trainer in bf16", "hf", "bf16")
LIGHTNING = Side("Lightning", "lightning", "fp32")
LIGHTNING_BF16 = Side("Lightning in bf16", "lightning", "bf16")

CNN, BERT = "CNN, 32x32x3, batch 1024", "BERT of 110 M, 128 tokens, batch 64"
TARGETS = {CNN: {HF: ">= 5", GRAPHED: ">= 0.9"}, BERT: {GRAPHED: ">= 0.9"}}
UTILISATION = {CNN: "", BERT: ">= 45 %"}


def cnn(runs: int, folder: Path, *, small: bool = False) -> list[Comparison]:
    """Train the two-conv CNN on synthetic images."""
    epochs = 4 if small else 20
    return _measure(
        CNN, jobs.pictures(folder / "job", 48 * 1024, side=32, colours=3, batch_size=1024, epochs=epochs), runs
    )


def transformer(runs: int, folder: Path, *, small: bool = False) -> list[Comparison]:
    """Train a BERT with random weights on synthetic texts."""
    return _measure(BERT, jobs.bert(folder / "job", (100 if small else 500) * 64, batch_size=64), runs)


def _measure(work: str, job: Job, runs: int) -> list[Comparison]:
    import torch

    device = torch.cuda.get_device_name()
    found, absent = _train(job, runs, job.work.parent / "sides")
    notes = (
        f"on {device}; {job.train.epochs} epochs; fp32 is a library's default",
        *(f"not run, because it is not installed: {package}" for package in absent),
        *described(found),
    )
    return _rows(work, found, _utilisation(job, device), notes)


def _train(job: Job, runs: int, folder: Path) -> tuple[Mapping[Side, Sequence[Outcome]], list[str]]:
    sides = [OURS, GRAPHED, HF, HF_BF16, LIGHTNING, LIGHTNING_BF16]
    return compare(job, [side for side in sides if not missing([side])], runs, folder), missing(sides)


def _utilisation(job: Job, device: str) -> float | None:
    """Return the percentage of the device's peak per example per second.

    None if the peak is unknown.
    """
    highest = peak(device)
    return None if highest is None else 100 * per_example(job) / highest


def _rows(
    work: str, found: Mapping[Side, Sequence[Outcome]], percent: float | None, notes: tuple[str, ...]
) -> list[Comparison]:
    ours = found.get(OURS, ())
    warm = [each.warm_examples_per_second for each in ours]  # the graphed loop is timed after its warm-up
    table = []
    for side in (HF, HF_BF16, LIGHTNING, LIGHTNING_BF16, GRAPHED):
        peer = found.get(side, ())
        rates = warm if side is GRAPHED else [each.examples_per_second for each in ours]
        table.append(
            Comparison(
                name=f"{work}, {OURS.precision} against {side.precision}",
                unit="examples/s",
                ours=rates,
                peer_name=side.name,
                peer=[each.examples_per_second for each in peer],
                target=TARGETS[work].get(side, ""),
                metric="accuracy" if peer else "",
                ours_metric=statistics.mean(each.accuracy for each in ours) if ours else 0.0,
                peer_metric=statistics.mean(each.accuracy for each in peer) if peer else 0.0,
                notes=notes if side is HF else (),
            )
        )
    table.append(
        Comparison(
            name=f"{work}, model FLOP utilisation",
            unit="%",
            ours=[each * percent for each in warm] if percent else (),
            peer_name=GRAPHED.name,
            peer=[each.examples_per_second * percent for each in found.get(GRAPHED, ())] if percent else (),
            target=UTILISATION[work],
        )
    )
    return table
