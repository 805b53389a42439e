"""Compare our trainer with other training loops on a CPU: a CNN on images, MiniLM on texts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Comparison
from benchmarks.trainers import jobs
from benchmarks.trainers.outcome import Outcome
from benchmarks.trainers.session import Side, compare, described
from modelworks.training.machine.precision import explained

if TYPE_CHECKING:
    from modelworks.training.job import Job

__all__ = ["pictures", "texts"]

OURS_FP32, OURS_BF16 = Side("ours in fp32", "ours", "fp32"), Side("ours in bf16", "ours", "bf16")
BARE_FP32, BARE_BF16 = Side("bare loop in fp32", "bare", "fp32"), Side("bare loop in bf16", "bare", "bf16")
HF = Side("HF Trainer", "hf", "fp32")
HF_GROUPED = Side("HF Trainer, grouped", "hf-grouped", "fp32")
LIGHTNING = Side("Lightning", "lightning", "fp32")
ACCELERATE = Side("accelerate", "accelerate", "fp32")

Found = Mapping[Side, Sequence[Outcome]]


def pictures(runs: int, folder: Path, *, small: bool = False) -> list[Comparison]:
    """Train the two-conv CNN on Fashion-MNIST.

    `small` uses fewer rows, with similar ratios and lower metrics.
    """
    rows, epochs = (12_000, 1) if small else (60_000, 2)
    job = jobs.fashion(folder / "job", rows, epochs)
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


def texts(runs: int, folder: Path, *, small: bool = False) -> list[Comparison]:
    """Fine-tune MiniLM on tweets.

    `small` uses fewer rows, with similar ratios and lower metrics.
    """
    rows, test_rows = (800, 1_000) if small else (2_000, 2_000)
    job = jobs.tweets(folder / "job", rows, test_rows)
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
    """Return the precision that ours selects by default, and the reason."""
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
