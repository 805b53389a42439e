"""Check the size and latency of a saved model."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from modelworks.evaluation.gate.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelworks.evaluation.config import BudgetConfig
    from modelworks.records import TrainedModel

__all__ = ["judge", "latency_ms", "size_mb"]

ROWS, WARM_UP = 50, 5


def judge(trained: TrainedModel, budgets: BudgetConfig) -> Iterator[Finding]:
    """Yield a finding for each budget that is set."""
    if budgets.size_mb is not None:
        size = size_mb(trained.model_folder)
        yield Finding(
            name="size",
            observed=f"{size:.3g} MB",
            required=f"at most {budgets.size_mb:g} MB",
            decision="promote" if size <= budgets.size_mb else "reject",
        )
    if budgets.latency_ms is not None:
        latency = latency_ms(trained)
        yield Finding(
            name="latency",
            observed=f"{latency:.3g} ms per row, the median of {ROWS} on the CPU",
            required=f"at most {budgets.latency_ms:g} ms",
            decision="promote" if latency <= budgets.latency_ms else "reject",
        )


def size_mb(folder: Path) -> float:
    """Return the size of all files in a folder in megabytes (10^6 bytes)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def latency_ms(trained: TrainedModel) -> float:
    """Return the median milliseconds from content to prediction of single test rows.

    Raises:
        Corrupt: the model or its data are damaged.
    """
    from modelworks.evaluation import inference

    model = inference.load(trained.model_folder)
    contents = inference.held_out(trained.report).contents
    milliseconds = []
    for index in range(WARM_UP + ROWS):
        place = index % len(contents)
        started = time.perf_counter()
        model.predict(contents[place : place + 1])
        milliseconds.append(1000 * (time.perf_counter() - started))
    return median(milliseconds[WARM_UP:])
