"""The job file of a training, and the folder that keeps its checkpoints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from modelworks.models.pretrained_weights import locate
from modelworks.training.job import Job

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.pipeline.plan import Plan
    from modelworks.records import ValidationReport

__all__ = ["training_job", "work_folder"]


def training_job(plan: Plan, report: ValidationReport) -> Job:
    """What the trainer is told: it ends when this process does.

    Raises:
        BadInput, Unavailable: the checkpoint that the weights start from cannot be had.
    """
    project, config = plan.project, plan.config
    return Job(
        key=plan.stage("train").key,
        dataset=report.dataset.folder,
        dataset_digest=report.dataset.digest,
        splits=report.folder / "splits.npy",
        decoded=project.state,
        decoded_key=plan.preprocessed_key,
        checkpoint=locate(config.model, project.root),
        model=config.model,
        objective=config.objective,
        train=config.train,
        hardware=plan.hardware,
        work=work_folder(plan),
        parent=os.getpid(),
    )


def work_folder(plan: Plan) -> Path:
    """Where a training keeps its checkpoints until its model has its name."""
    return plan.project.state / "training" / plan.stage("train").key
