"""`modelworks doctor`: check the installation, the stores and what a crash left behind; mend what is safe to mend."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Literal

from flows.output import print_json
from modelworks.errors import ModelworksError, Refused
from modelworks.project import Project

__all__ = ["doctor"]

LIBRARIES = ("torch", "transformers", "pyarrow", "dvc.repo", "great_expectations", "mlflow", "prefect")
LOW_DISK_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["well", "mended", "ill"]
    detail: str


def doctor(*, as_json: bool) -> None:
    """Look at everything and say so; exits with 3 when something is ill that it must not mend by itself."""
    project = Project.find()
    os.environ |= {name: value for name, value in project.environment().items() if name not in os.environ}
    project.make_private_folders()
    findings = []
    for finding in _examine(project):
        findings.append(finding)
        if not as_json:
            mark = {"well": "✔", "mended": "✚", "ill": "✘"}[finding.state]
            print(f"{mark} {finding.what:<28} {finding.detail}", flush=True)
    if as_json:
        print_json(
            {"well": all(each.state != "ill" for each in findings), "findings": [asdict(each) for each in findings]}
        )
    ill = [each.what for each in findings if each.state == "ill"]
    if ill:
        raise Refused(f"not well: {', '.join(ill)}", "each line above says what to do")


def _examine(project: Project) -> Iterator[Finding]:
    yield _python()
    yield _requirements()
    for name in LIBRARIES:
        yield _library(name)
    yield _disk(project)
    yield from _data(project)
    yield from _stages(project)
    yield _prefect_store(project)
    yield from _tracking(project)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        "python", "well" if fits else "ill", version if fits else f"{version}: modelworks needs 3.11 to 3.13"
    )


def _requirements() -> Finding:
    """Whether every direct requirement is installed in a version that pyproject.toml allows."""
    from packaging.requirements import Requirement

    wrong = []
    for line in importlib.metadata.requires("modelworks") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    return Finding(
        "requirements",
        "ill" if wrong else "well",
        "; ".join(wrong) + ": rm -r .venv; make setup" if wrong else "as pyproject.toml says",
    )


def _library(name: str) -> Finding:
    distribution = name.partition(".")[0].replace("_", "-")
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever a broken library raises is the finding
        return Finding(f"import {name}", "ill", f"{type(error).__name__}: {error}: rm -r .venv; make setup")
    return Finding(f"import {name}", "well", importlib.metadata.version(distribution))


def _disk(project: Project) -> Finding:
    free = shutil.disk_usage(project.root).free / 1e9
    return Finding("disk", "well" if free > LOW_DISK_GB else "ill", f"{free:,.1f} GB free at {project.root}")


def _data(project: Project) -> Iterator[Finding]:
    from modelworks.data.versions import remove_unreadable_lock

    if remove_unreadable_lock(project):
        yield Finding("DVC's lock", "mended", "an unreadable one of a killed process was removed")
    else:
        yield Finding("DVC's lock", "well", "free")


def _stages(project: Project) -> Iterator[Finding]:
    from modelworks.store import StageStore

    store = StageStore(project.stages)
    leftovers = store.clear_leftovers()
    yield Finding(
        "leftovers of killed runs", "mended" if leftovers else "well", f"{leftovers} removed" if leftovers else "none"
    )
    damaged = [
        folder
        for stage in sorted(project.stages.glob("[!.]*"))
        for folder in sorted(stage.glob("[!.]*"))
        if store.state(stage.name, folder.name) == "damaged"
    ]
    for folder in damaged:
        shutil.rmtree(folder)
    yield Finding(
        "stage outputs",
        "mended" if damaged else "well",
        f"{len(damaged)} damaged ones removed: the next run makes them again" if damaged else "all intact",
    )


def _prefect_store(project: Project) -> Finding:
    path = project.prefect_home / "prefect.db"
    if project.prefect_url or not path.exists():
        return Finding("Prefect's store", "well", project.prefect_url or "not made yet")
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer == "ok":
        return Finding("Prefect's store", "well", str(path))
    return Finding(
        "Prefect's store", "ill", f"{path}: {answer}: move it away, the next run makes a new one (run history is lost)"
    )


def _tracking(project: Project) -> Iterator[Finding]:
    from modelworks.registry.production import settle
    from modelworks.registry.reconcile import close_stale_runs
    from modelworks.registry.store import connect

    try:
        client = connect(project)
    except ModelworksError as error:
        yield Finding("MLflow's store", "ill", f"{error.message}: {error.hint}")
        return
    yield Finding("MLflow's store", "well", project.tracking_uri)
    names = [each.name for each in client.search_experiments()]
    stale = close_stale_runs(client, names)
    yield Finding(
        "runs of dead processes", "mended" if stale else "well", f"{len(stale)} closed" if stale else "none open"
    )
    moves = [move for model in client.search_registered_models() for move in settle(client, project, model.name)]
    yield Finding("unfinished promotions", "mended" if moves else "well", f"{len(moves)} settled" if moves else "none")
