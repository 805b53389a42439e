"""Ingest: the source's rows become a pinned data version. Always looks, works only when something changed."""

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
    """The data version that this run stands on, which has what the gate is to cut it by: training takes hours."""
    from modelworks.evaluation.gate.slices import require_columns
    from modelworks.pipeline.status import pipeline_status

    started = time.monotonic()
    if pipeline_status(run.project, run.config).reasons["train"]:
        run.call_trainer()
    with run.display.working("ingest"):
        dataset, outcome = library.ingest(run.project, run.config.source)
        if run.config.gate.slices:
            require_columns(dataset, run.config.gate.slices.by)
    learned = targets_in_words(dataset.features)
    detail = f"data {dataset.name} {dataset.digest[:12]}, {dataset.rows:,} rows, {learned}"
    run.finished("ingest", outcome, time.monotonic() - started, detail)
    return dataset
