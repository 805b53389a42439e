"""`python -m benchmarks.trainers SIDE JOB.json`: train with one side.

The last line on stdout is the outcome.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path

from benchmarks.trainers import SIDES, ours
from benchmarks.trainers.outcome import Outcome, Stopwatch
from modelworks.training.job import Job


def main(side: str, path: Path) -> Outcome:
    """Train and test the model."""
    job = Job.read(path)
    if side == "ours":
        return ours.train(job)
    import torch

    from benchmarks.trainers import rows as all_rows

    module, function = SIDES[side].split(":")
    train = getattr(importlib.import_module(f"benchmarks.trainers.{module}"), function)
    torch.set_num_threads(job.hardware.threads)
    rows = all_rows.load(job)
    network = all_rows.make_network(job, rows)
    watch = Stopwatch()
    train(job, rows, network, watch)
    accuracy, macro_f1 = all_rows.test(job, rows, network)
    return Outcome(
        seconds=watch.seconds,
        epochs=job.train.epochs,
        examples=len(rows) * job.train.epochs,
        tokens=rows.num_tokens * job.train.epochs,
        accuracy=accuracy,
        macro_f1=macro_f1,
    )


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(main(sys.argv[1], Path(sys.argv[2])))))
