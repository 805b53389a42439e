"""Our training program beside the loops that people would use instead: `python -m benchmarks.training`.

Two works on the CPU: the two-conv CNN on Fashion-MNIST, and MiniLM on tweets; then how soon the first step comes, and
whether memory grows with the set. On a GPU see `training_cuda.py`.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import training_cuda, training_start
from benchmarks.measure import Comparison
from benchmarks.trainers import jobs
from benchmarks.trainers.outcome import Outcome
from benchmarks.trainers.session import Side, compare, described, missing
from modelworks.training.machine.precision import explained

if TYPE_CHECKING:
    from modelworks.training.job import Job

__all__ = ["INSTALL", "measure"]

INSTALL = "run `make bench`, or `.venv/bin/uv pip install -r benchmarks/requirements.lock`"

OURS_FP32, OURS_BF16 = Side("ours in fp32", "ours", "fp32"), Side("ours in bf16", "ours", "bf16")
BARE_FP32, BARE_BF16 = Side("bare loop in fp32", "bare", "fp32"), Side("bare loop in bf16", "bare", "bf16")
HF = Side("HF Trainer", "hf", "fp32")
HF_GROUPED = Side("HF Trainer, grouped", "hf-grouped", "fp32")
LIGHTNING = Side("Lightning", "lightning", "fp32")
ACCELERATE = Side("accelerate", "accelerate", "fp32")

Found = Mapping[Side, Sequence[Outcome]]


def measure(runs: int, folder: Path, *, small: bool = False, device: str = "cpu") -> list[Comparison]:
    """All comparisons of a device.

    Args:
        small: fewer rows, so that a session takes minutes; ratios hold, metrics are lower.
        device: cpu or cuda.

    Raises:
        SystemExit: a peer is not installed, or the data set is not.
    """
    if device == "cuda":
        return training_cuda.measure(runs, folder, small=small)
    lacking = missing([HF, LIGHTNING, ACCELERATE])
    if lacking:
        raise SystemExit(f"benchmark training: {', '.join(lacking)} not installed: {INSTALL}")
    return [
        *_pictures(runs, folder / "fashion", small),
        *_texts(runs, folder / "tweets", small),
        training_start.first_step(runs, folder / "start"),
        training_start.memory(runs, folder / "memory", small=small),
        *training_cuda.not_run(),
    ]


def _pictures(runs: int, folder: Path, small: bool) -> list[Comparison]:
    rows, epochs = (12_000, 1) if small else (60_000, 2)
    job = jobs.fashion(folder, rows, epochs)
    low = job.hardware.precision == "bf16"
    sides = [OURS_FP32, BARE_FP32, HF, LIGHTNING, ACCELERATE, *([OURS_BF16, BARE_BF16] if low else [])]
    found = compare(job, sides, runs, folder)
    notes = (
        f"{rows:,} training rows of Fashion-MNIST, epochs: {epochs}, batch {job.train.batch_size}, 10,000 test rows",
        _default(job),
        *described(found),
    )
    work = "two-conv CNN, wall per epoch"
    table = [
        _compared(work, found, OURS_FP32, HF, "<= 0.60", notes),
        _compared(work, found, OURS_FP32, BARE_FP32, "<= 1.03"),
        _compared(work, found, OURS_FP32, LIGHTNING),
        _compared(work, found, OURS_FP32, ACCELERATE),
    ]
    if low:
        table += [
            _compared(work, found, OURS_BF16, HF, "<= 0.37"),
            _compared(work, found, OURS_BF16, LIGHTNING, "<= 0.40"),
            _compared(work, found, OURS_BF16, BARE_BF16, "<= 1.03"),
            _compared(work, found, OURS_BF16, ACCELERATE),
        ]
    return table


def _texts(runs: int, folder: Path, small: bool) -> list[Comparison]:
    rows, test_rows = (800, 1_000) if small else (2_000, 2_000)
    job = jobs.tweets(folder, rows, test_rows)
    low = job.hardware.precision == "bf16"
    sides = [OURS_FP32, BARE_FP32, HF_GROUPED, HF, LIGHTNING, ACCELERATE, *([OURS_BF16] if low else [])]
    found = compare(job, sides, runs, folder)
    notes = (
        f"{rows:,} tweets, one epoch of batch {job.train.batch_size}, {test_rows:,} test rows",
        _default(job),
        *described(found),
    )
    work = "MiniLM on tweets, real tokens"
    table = [
        _compared(work, found, OURS_FP32, HF_GROUPED, ">= 1.25", notes),
        _compared(work, found, OURS_FP32, HF),
        _compared(work, found, OURS_FP32, LIGHTNING),
        _compared(work, found, OURS_FP32, ACCELERATE),
        _compared(work, found, OURS_FP32, BARE_FP32),
    ]
    if low:
        table += [
            _compared(work, found, OURS_BF16, HF_GROUPED, ">= 1.7"),
            _compared(work, found, OURS_BF16, HF, ">= 2.5"),
        ]
    return table


def _default(job: Job) -> str:
    """What ours takes by itself, and why."""
    hardware = job.hardware
    reason = explained(hardware.precision_source, hardware.product_rates)
    return f"ours' default here is {hardware.precision} ({reason}); the libraries' is fp32"


def _compared(
    work: str, found: Found, ours: Side, peer: Side, target: str = "", notes: tuple[str, ...] = ()
) -> Comparison:
    texts = found[ours][0].tokens > 0
    figure: Callable[[Outcome], float] = (
        (lambda each: each.tokens_per_second) if texts else (lambda each: each.seconds_per_epoch)
    )
    metric: Callable[[Outcome], float] = (lambda each: each.macro_f1) if texts else (lambda each: each.accuracy)
    return Comparison(
        name=f"{work}, {ours.precision} against {peer.precision}",
        unit="tokens/s" if texts else "s",
        ours=[figure(each) for each in found[ours]],
        peer_name=peer.name,
        peer=[figure(each) for each in found[peer]],
        target=target,
        metric="macro F1" if texts else "accuracy",
        ours_metric=statistics.mean(map(metric, found[ours])),
        peer_metric=statistics.mean(map(metric, found[peer])),
        notes=notes,
    )


if __name__ == "__main__":
    from benchmarks.__main__ import main

    main(["training", *sys.argv[1:]])
