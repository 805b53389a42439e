"""Close what dead processes left open, so that the UI shows as running only what runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.registry import lineage
from modelworks.registry.failures import said_clearly
from modelworks.registry.owner import Owner
from modelworks.registry.pages import all_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

__all__ = ["close_stale_runs"]


@said_clearly
def close_stale_runs(client: MlflowClient, experiments: Sequence[str]) -> list[str]:
    """Set runs of dead processes of this machine to KILLED, delete the models they had begun; returns the runs' ids.

    Args:
        experiments: names; those that do not exist are left out.
    """
    found = (client.get_experiment_by_name(name) for name in experiments)
    ids = [experiment.experiment_id for experiment in found if experiment is not None]
    if not ids:
        return []
    stale = [run.info.run_id for run in _running(client, ids) if _is_stale(run)]
    for run_id in stale:
        client.set_terminated(run_id, "KILLED")
    _drop_unfinished_models(client, ids)
    return stale


def _running(client: MlflowClient, experiment_ids: list[str]) -> list[Run]:
    here = Owner.this().host
    return all_pages(
        lambda token: client.search_runs(
            experiment_ids, f"attributes.status = 'RUNNING' AND tags.`{lineage.HOST}` = '{here}'", page_token=token
        )
    )


def _is_stale(run: Run) -> bool:
    owner = lineage.owner_of(run.data.tags)
    return owner is not None and owner.is_dead


def _drop_unfinished_models(client: MlflowClient, experiment_ids: list[str]) -> None:
    """Fail and delete pending models whose run has ended: nobody will ever finish them."""
    from mlflow.entities import LoggedModelStatus

    # Not by a filter on the status: MLflow 3.17 compares its name with the number that is stored, and finds nothing.
    models: list[LoggedModel] = all_pages(lambda token: client.search_logged_models(experiment_ids, page_token=token))
    for model in models:
        if model.status != LoggedModelStatus.PENDING or not model.source_run_id:
            continue
        if client.get_run(model.source_run_id).info.status != "RUNNING":
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
            client.delete_logged_model(model.model_id)
