"""`python -m modelworks.reproduce JOB.json`: the stages of a version, afresh, by the code that made it.

Started in a checkout of that code. It tells what it does as lines of JSON on stdout, and what came of it in a file
that the job names; the newer code that started it compares. So both sides of this must stay as few and as simple.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from modelworks.config import run_config as configuration
from modelworks.data import versioning
from modelworks.errors import ModelworksError
from modelworks.files.atomic_files import write_json
from modelworks.pipeline.plan import Plan
from modelworks.pipeline.training_job import training_job
from modelworks.process import die_with_parent
from modelworks.project import Project
from modelworks.reproduce.capture import ingredients, installed, machine

__all__ = ["rebuild"]

R = TypeVar("R")


def rebuild(project: Project, config: configuration.RunConfig, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Validate, train and score in a project that has the data and nothing else; returns where the results are.

    Raises:
        Refused: a check on the data, or the training, fails that did not fail before.
    """
    from modelworks.evaluation import inference
    from modelworks.training.launchers.local import launch
    from modelworks.validation.validate import validate

    dataset = versioning.observe(project, config.source.dataset)
    plan = Plan(project, config, dataset)
    store = plan.store

    def stage(name: str, make: Callable[[Path, Path, str], R]) -> R:
        started, stage = time.monotonic(), plan.stage(name)
        say({"type": "begin", "stage": name})
        with store.write(name, stage.key, stage.ingredients) as aside:
            made = make(aside, store.folder(name, stage.key), stage.key)
        say({"type": "end", "stage": name, "seconds": time.monotonic() - started})
        return made

    report = stage(
        "validate",
        lambda aside, final, key: validate(
            dataset, config.objective.kind, config.split, config.checks, key=key, folder=final, aside=aside
        ),
    )
    trained = stage("train", lambda aside, final, _: launch(training_job(plan, report), report, aside, final, say))
    stage(
        "score",
        lambda aside, final, _: inference.write(
            inference.score(trained.model_folder, inference.held_out(report)), aside
        ),
    )
    return {
        "model": str(trained.model_folder),
        "predictions": str(store.folder("score", plan.stage("score").key)),
        **_surroundings(plan),
    }


def _surroundings(plan: Plan) -> dict[str, Any]:
    """What it was made from and with, to compare with the record."""
    return {
        "ingredients": {name: dict(parts) for name, parts in ingredients(plan).items()},
        "libraries": installed(),
        "machine": dataclasses.asdict(machine(plan.hardware)),
    }


def main() -> None:
    """Do the job; say an error as the last line, and end with its code."""
    job = json.loads(Path(sys.argv[1]).read_text())
    die_with_parent(job["parent"])
    project = Project(Path(job["project"]))
    project.make_private_folders()
    os.environ |= project.environment()
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is for the log

    def say(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    try:
        result = rebuild(project, configuration.load(Path(job["config"])), say)
    except ModelworksError as error:
        say({"type": "error", "message": error.message, "hint": error.hint})
        sys.exit(error.exit_code)
    write_json(Path(job["result"]), result)


if __name__ == "__main__":
    main()
