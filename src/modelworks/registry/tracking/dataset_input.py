"""Log the data set of a run as its input, as MLflow's page shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.files.digest import canonical_json
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.backend.mlflow_internals import dataset_schema
from modelworks.registry.tracking import tags as lineage

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.records import DatasetVersion

__all__ = ["log_dataset"]

LONGEST_PROFILE = 60_000
"""Characters; MLflow's limit."""
TYPES = {
    "text": "string",
    "label": "string",
    "labels": "string",
    "number": "double",
}
"""MLflow's column type by feature kind; for a list, the type of its elements. Other kinds are `binary`."""


@maps_tracking_errors
def log_dataset(client: MlflowClient, run_id: str, dataset: DatasetVersion) -> None:
    """Log the data set as the run's input: name, digest, source, schema and profile."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, RunTag

    columns = {
        "id": "string",
        **{name: TYPES.get(feature["kind"], "binary") for name, feature in dataset.features.items()},
    }
    entity = Dataset(
        name=dataset.name,
        digest=dataset.digest,
        # A source type that mlflow.data.get_source can open.
        source_type="local",
        source=canonical_json({"uri": str(dataset.folder), **dataset.source}),
        schema=dataset_schema(columns),
        profile=_profile(dataset),
    )
    client.log_inputs(run_id, datasets=[DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])
    tags = [RunTag(name, value) for name, value in lineage.dataset_tags(dataset).items()]
    client.log_batch(run_id, tags=tags)


def _profile(dataset: DatasetVersion) -> str:
    """Return the profile of the targets; for very many classes only their number."""
    targets = {
        name: {**feature, "num_classes": len(feature["classes"])} if "classes" in feature else dict(feature)
        for name, feature in dataset.targets.items()
    }
    profile = {"rows": dataset.rows, "licence": dataset.licence, "targets": targets}
    if len(canonical_json(profile)) > LONGEST_PROFILE:
        for target in targets.values():
            target.pop("classes", None)
    return canonical_json(profile)
