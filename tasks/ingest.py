"""Ingest: bring the pinned data version up to date with the source; checked in every run."""

from __future__ import annotations

import time

from modelworks.data import ingest as library
from modelworks.data.features import targets_in_words
from modelworks.records import DatasetVersion
from tasks.context import RunContext
from tasks.stage_task import stage_task

__all__ = ["ingest"]


@stage_task("ingest")
def ingest(run: RunContext) -> DatasetVersion:
    """Return the run's data version.

    Check before training that it has the columns of the gate's slices.
    """
    from modelworks.evaluation.gate.slices import require_columns
    from modelworks.pipeline.status import pipeline_status

    started = time.monotonic()
    if pipeline_status(run.project, run.config).reasons["train"]:
        run.start_trainer()
    with run.display.working("ingest"):
        dataset, outcome = library.ingest(run.project, run.config.source)
        if run.config.gate.slices:
            require_columns(dataset, run.config.gate.slices.by)
    targets = targets_in_words(dataset.features)
    detail = f"data {dataset.name} {dataset.digest[:12]}, {dataset.rows:,} rows, {targets}"
    run.finished("ingest", outcome, time.monotonic() - started, detail)
    return dataset
