"""Close runs and models that dead processes left open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.fault_injection import effect
from modelworks.registry.backend import mlflow_sqlite_internals as tables
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.backend.tracking_store import connect, database_of
from modelworks.registry.tracking import tags
from modelworks.registry.tracking.process_identity import Owner
from modelworks.sqlite.databases import reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

    from modelworks.project import Project

__all__ = ["Leftovers", "close", "close_stale_runs", "close_when_done", "left_open"]


@dataclass(frozen=True)
class Leftovers:
    """Runs and logged models that no process will finish."""

    runs: tuple[str, ...]
    """Ids of runs with the status RUNNING whose process on this machine is dead."""
    models: tuple[str, ...]
    """Ids of pending logged models whose run has ended or whose process is dead."""


@maps_tracking_errors
def left_open(client: MlflowClient, experiments: Sequence[str]) -> Leftovers:
    """Return what dead processes left open in some experiments; change nothing.

    Args:
        experiments: names; those that do not exist are ignored.
    """
    found = (client.get_experiment_by_name(name) for name in experiments)
    ids = [experiment.experiment_id for experiment in found if experiment is not None]
    if not ids:
        return Leftovers((), ())
    stale = tuple(run.info.run_id for run in _running(client, ids) if _is_stale(run))
    return Leftovers(stale, tuple(_unfinished_models(client, ids, stale)))


@maps_tracking_errors
def close(client: MlflowClient, left: Leftovers) -> None:
    """Set the runs to KILLED and delete their pending models."""
    from mlflow.entities import LoggedModelStatus

    for run_id in left.runs:
        with effect("reconcile.end"):
            client.set_terminated(run_id, "KILLED")
    for model_id in left.models:
        with effect("reconcile.delete"):
            client.finalize_logged_model(model_id, LoggedModelStatus.FAILED)
            client.delete_logged_model(model_id)


def close_stale_runs(client: MlflowClient, experiments: Sequence[str]) -> list[str]:
    """Close what dead processes left open in some experiments; return the ids of the runs."""
    left = left_open(client, experiments)
    close(client, left)
    return list(left.runs)


def close_when_done(project: Project, name: str) -> None:
    """Close what a kill left open at the end of a pipeline that has nothing to do now.

    Read an embedded store with SQL, as `registry_state` does, so that MLflow is not imported.
    """
    path = database_of(project.tracking_uri)
    if path is not None and tables.read_revision(path) == tables.REVISION:
        with reading(path) as connection:
            if not tables.has_running(connection, name):
                return
    close_stale_runs(connect(project), [name])


def _running(client: MlflowClient, experiment_ids: list[str]) -> list[Run]:
    here = Owner.this().host
    return all_pages(
        lambda token: client.search_runs(
            experiment_ids, f"attributes.status = 'RUNNING' AND tags.`{tags.HOST}` = '{here}'", page_token=token
        )
    )


def _is_stale(run: Run) -> bool:
    owner = tags.owner_of(run.data.tags)
    return owner is not None and owner.is_dead


def _unfinished_models(client: MlflowClient, experiment_ids: list[str], stale: Sequence[str]) -> list[str]:
    from mlflow.entities import LoggedModelStatus

    # No filter on the status: MLflow 3.17 compares its name with the stored number and finds nothing.
    models: list[LoggedModel] = all_pages(lambda token: client.search_logged_models(experiment_ids, page_token=token))
    return [
        model.model_id
        for model in models
        if model.source_run_id
        and model.status == LoggedModelStatus.PENDING
        and (model.source_run_id in stale or _has_ended(client, model.source_run_id))
    ]


def _has_ended(client: MlflowClient, run_id: str) -> bool:
    """Return whether a run of modelworks has ended. Models of other runs are left alone."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False  # `mlflow gc` deleted the run, so its owner is unknown
    return run.info.status != "RUNNING" and tags.PIPELINE in run.data.tags
