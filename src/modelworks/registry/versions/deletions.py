"""Find deleted or renamed experiments, runs and models that are still needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.registry.backend.error_mapping import maps_tracking_errors, mlflow_command
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
    """A missing resource and how to restore it."""

    what: str
    message: str
    hint: str


@maps_tracking_errors
def model_names(client: MlflowClient) -> list[str]:
    """Return the names of all registered models."""
    models: list[RegisteredModel] = all_pages(lambda token: client.search_registered_models(page_token=token))
    return [each.name for each in models]


@maps_tracking_errors
def deleted_experiments(client: MlflowClient) -> list[Missing]:
    """Return deleted experiments of registered models and of their audit logs."""
    from mlflow.entities import ViewType

    ours = {each for name in model_names(client) for each in (name, audit_queries.experiment_of(name))}
    deleted: list[Experiment] = all_pages(
        lambda token: client.search_experiments(ViewType.DELETED_ONLY, page_token=token)
    )
    return [
        Missing(
            what=f"experiment {each.name}",
            message="it was deleted",
            hint=mlflow_command(client.tracking_uri, "experiments", "restore", "--experiment-id", each.experiment_id),
        )
        for each in deleted
        if each.name in ours
    ]


@maps_tracking_errors
def deleted_run(client: MlflowClient, version: Registered) -> Missing | None:
    """Return the run of a version if it is deleted and can be restored."""
    if client.get_run(version.run_id).info.lifecycle_stage != "deleted":
        return None
    return Missing(
        what=f"run of {version.name} version {version.version}",
        message="it was deleted, and `mlflow gc` would delete the version's files with it",
        hint=mlflow_command(client.tracking_uri, "runs", "restore", "--run-id", version.run_id),
    )


@maps_tracking_errors
def unregistered_models(client: MlflowClient) -> list[Missing]:
    """Return models with an audit log that are not registered: they were renamed or deleted."""
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
                message=f"the audit log has version {newest.after}, but the model {name} is not registered",
                hint=(
                    f"rename the model back in MLflow's UI; or, if it was deleted on purpose, delete {each.name} there"
                ),
            )
        )
    return found
