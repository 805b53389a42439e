"""Run the stages of a version: `python -m modelworks.reproduce JOB.json`.

Runs in a checkout of the version's code. It writes events as JSON lines to stdout and the result to the file in the job. The
caller may be newer code, so keep this protocol small and stable.
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
    """Validate, train and score in a project with only the data; return the result's paths.

    Raises:
        Refused: a data check or the training fails.
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
        with store.write(name, stage.key, stage.ingredients) as temporary:
            result = make(temporary, store.folder(name, stage.key), stage.key)
        say({"type": "end", "stage": name, "seconds": time.monotonic() - started})
        return result

    report = stage(
        "validate",
        lambda temporary, final, key: validate(
            dataset, config.objective.kind, config.split, config.checks, key=key, folder=final, temporary=temporary
        ),
    )
    trained = stage(
        "train", lambda temporary, final, _: launch(training_job(plan, report), report, temporary, final, say)
    )
    stage(
        "score",
        lambda temporary, final, _: inference.write(
            inference.score(trained.model_folder, inference.held_out(report)), temporary
        ),
    )
    return {
        "model": str(trained.model_folder),
        "predictions": str(store.folder("score", plan.stage("score").key)),
        **_environment(plan),
    }


def _environment(plan: Plan) -> dict[str, Any]:
    """Return ingredients, libraries and machine, to compare with the record."""
    return {
        "ingredients": {name: dict(parts) for name, parts in ingredients(plan).items()},
        "libraries": installed(),
        "machine": dataclasses.asdict(machine(plan.hardware)),
    }


def main() -> None:
    """Run the job; report an error as the last event, and exit with its code."""
    job = json.loads(Path(sys.argv[1]).read_text())
    die_with_parent(job["parent"])
    project = Project(Path(job["project"]))
    project.make_private_folders()
    os.environ |= project.environment()
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # redirect output of libraries to the log

    def say(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    try:
        result = rebuild(project, configuration.load(Path(job["config"])), say)
    except ModelworksError as error:
        say({"type": "error", "message": error.message, "hint": error.hint, "code": error.code})
        sys.exit(error.exit_code)
    write_json(Path(job["result"]), result)


if __name__ == "__main__":
    main()
