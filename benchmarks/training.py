"""Our training program on a CPU against the loops that people use instead: a CNN on images, MiniLM on texts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Comparison
from benchmarks.trainers import jobs
from benchmarks.trainers.outcome import Outcome
from benchmarks.trainers.session import Side, compare, described

__all__ = ["pictures", "texts"]

OURS_FP32 = Side("ours in fp32", "ours", "fp32")
BARE_FP32 = Side("bare loop in fp32", "bare", "fp32")
HF = Side("HF Trainer", "hf", "fp32")
HF_GROUPED = Side("HF Trainer, grouped", "hf-grouped", "fp32")
LIGHTNING = Side("Lightning", "lightning", "fp32")
ACCELERATE = Side("accelerate", "accelerate", "fp32")

Found = Mapping[Side, Sequence[Outcome]]


def pictures(runs: int, folder: Path, *, small: bool = False) -> list[Comparison]:
    """Train the two-conv CNN on Fashion-MNIST; `small` takes fewer rows: ratios hold, metrics are lower."""
    rows, epochs = (12_000, 1) if small else (60_000, 2)
    job = jobs.fashion(folder / "job", rows, epochs)
    ours = Side("ours", "ours", job.hardware.precision)
    bare = Side("bare loop", "bare", job.hardware.precision)
    found = compare(job, [ours, OURS_FP32, bare, HF, LIGHTNING, ACCELERATE], runs, folder)
    notes = (
        f"{rows:,} training rows of Fashion-MNIST, epochs: {epochs}, batch {job.train.batch_size}, 10,000 test rows",
        f"ours and the bare loop in {ours.precision}, ours' default here; the libraries in fp32, which is theirs",
        *described(found),
    )
    work = "two-conv CNN, wall per epoch"
    return [
        _compared(work, found, ours, HF, "<= 0.35", notes),
        _compared(work, found, ours, LIGHTNING, "<= 0.40"),
        _compared(work, found, ours, bare, "<= 1.03"),
        _compared(work, found, ours, ACCELERATE),
        _compared(work, found, OURS_FP32, HF),
        _compared(work, found, OURS_FP32, LIGHTNING),
    ]


def texts(runs: int, folder: Path, *, small: bool = False) -> list[Comparison]:
    """Fine-tune MiniLM on tweets; `small` takes fewer rows: ratios hold, metrics are lower."""
    rows, test_rows = (800, 1_000) if small else (2_000, 2_000)
    job = jobs.tweets(folder / "job", rows, test_rows)
    ours = Side("ours", "ours", job.hardware.precision)
    found = compare(job, [OURS_FP32, ours, BARE_FP32, HF_GROUPED, HF, LIGHTNING, ACCELERATE], runs, folder)
    notes = (
        f"{rows:,} tweets, one epoch of batch {job.train.batch_size}, {test_rows:,} test rows",
        f"all in fp32; and ours in {ours.precision}, its default here, in rows of their own",
        *described(found),
    )
    work = "MiniLM on tweets, real tokens"
    return [
        _compared(work, found, OURS_FP32, HF_GROUPED, ">= 1.6", notes),
        _compared(work, found, OURS_FP32, HF, ">= 2.5"),
        _compared(work, found, OURS_FP32, LIGHTNING),
        _compared(work, found, OURS_FP32, ACCELERATE),
        _compared(work, found, OURS_FP32, BARE_FP32),
        _compared(work, found, ours, HF_GROUPED, ">= 1.6"),
        _compared(work, found, ours, HF, ">= 2.5"),
    ]


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
