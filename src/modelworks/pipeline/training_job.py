"""Build the job of a training, and name the folder of its checkpoints."""

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
    """Return the job of the trainer, which ends when this process does.

    Raises:
        BadInput, Unavailable: the pretrained checkpoint is not available.
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
    """Return the folder of a training's checkpoints until its model is stored."""
    return plan.project.state / "training" / plan.stage("train").key
