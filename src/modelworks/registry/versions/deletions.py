"""What somebody deleted or renamed in MLflow's pages and a later command would miss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.registry.backend.error_mapping import mlflow_command, said_clearly
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.production import audit_queries

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities.model_registry import RegisteredModel

    from modelworks.registry.versions.queries import Registered

__all__ = ["Missing", "deleted_experiments", "deleted_run", "model_names", "unregistered_models"]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that is not where a command expects it."""

    what: str
    message: str
    way_out: str


@said_clearly
def model_names(client: MlflowClient) -> list[str]:
    """The names of all registered models."""
    models: list[RegisteredModel] = all_pages(lambda token: client.search_registered_models(page_token=token))
    return [each.name for each in models]


@said_clearly
def deleted_experiments(client: MlflowClient) -> list[Missing]:
    """Deleted experiments of registered models, or of the journals of their production: nothing can be logged there."""
    from mlflow.entities import ViewType

    ours = {each for name in model_names(client) for each in (name, audit_queries.experiment_of(name))}
    deleted: list[Experiment] = all_pages(
        lambda token: client.search_experiments(ViewType.DELETED_ONLY, page_token=token)
    )
    return [
        Missing(
            what=f"experiment {each.name}",
            message="it was deleted",
            way_out=mlflow_command(
                client.tracking_uri, "experiments", "restore", "--experiment-id", each.experiment_id
            ),
        )
        for each in deleted
        if each.name in ours
    ]


@said_clearly
def deleted_run(client: MlflowClient, version: Registered) -> Missing | None:
    """The run that made a version, if it is deleted and can still be restored."""
    if client.get_run(version.run_id).info.lifecycle_stage != "deleted":
        return None
    return Missing(
        what=f"run of {version.name} version {version.version}",
        message="it was deleted, and `mlflow gc` would delete the version's files with it",
        way_out=mlflow_command(client.tracking_uri, "runs", "restore", "--run-id", version.run_id),
    )


@said_clearly
def unregistered_models(client: MlflowClient) -> list[Missing]:
    """Models that have a journal of production and are not registered: they were renamed or deleted."""
    known = set(model_names(client))
    experiments: list[Experiment] = all_pages(lambda token: client.search_experiments(page_token=token))
    found = []
    for each in experiments:
        name = each.name.removesuffix(audit_queries.experiment_of(""))
        if name in (each.name, *known) or (newest := audit_queries.last(client, name)) is None:
            continue
        found.append(
            Missing(
                what=f"production of {name}",
                message=f"the journal left it on version {newest.after}, and no model {name} is registered any more",
                way_out=(
                    f"give the model its name back in MLflow's page; or, if it is to be gone, delete {each.name} there"
                ),
            )
        )
    return found
