"""Register one version per pipeline key, and tag it with its verdict and promotion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelworks.fault_injection import effect, fault_point
from modelworks.records import Evaluation, ModelVersion, Verdict
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.backend.idempotent_create import created
from modelworks.registry.locks.machine import choose_lock
from modelworks.registry.packaging import upload
from modelworks.registry.tracking import tags as lineage
from modelworks.registry.versions import provenance_record, queries
from modelworks.registry.versions.queries import Registered, registered

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.files.locks import Lock
    from modelworks.project import Project
    from modelworks.provenance import Provenance

__all__ = ["record_page", "record_promotion", "record_verdict", "register"]

READY_SECONDS = 120
EARLIER_VERDICT = re.compile(r"^Verdict: \*\*.*\*\*\n(?:\n- .*(?:\n- .*)*)?", re.MULTILINE)
"""The part of a version's description that `record_verdict` writes."""


@maps_tracking_errors
def register(
    client: MlflowClient,
    project: Project,
    evaluation: Evaluation,
    *,
    provenance: Provenance,
    name: str,
    key: str,
    run_id: str,
    lock: Lock | None = None,
) -> ModelVersion:
    """Return the version with a pipeline key; upload and create it if there is none.

    There is one version per key, however often this is called or killed.

    Args:
        client: of the store.
        project: whose lock is used if `lock` is None.
        evaluation: the evaluated model.
        provenance: what it was made from and with, for its record.
        name: of the registered model.
        key: the pipeline key.
        run_id: the run for the package of a new version.
        lock: shared by all processes that register in this store.

    Raises:
        Corrupt: the saved model or its evaluation's data are damaged.
        Unavailable: the store does not answer, or another process holds the lock.
    """
    with (lock or choose_lock(project)).hold(f"register-{name}", f"registering {name}"):
        found = queries.find(client, name, key) or _create(client, project, evaluation, provenance, name, key, run_id)
        _name_run(client, found)
    return ModelVersion(
        evaluation=evaluation,
        key=key,
        name=name,
        version=found.version,
        run_id=found.run_id,
        experiment_id=found.experiment_id,
        digest=found.digest,
    )


@maps_tracking_errors
def record_verdict(client: MlflowClient, verdict: Verdict, page: str = "") -> None:
    """Replace the verdict of a version; while it is written, the version has no verdict.

    Args:
        client: of the store.
        verdict: the new verdict.
        page: key of the uploaded gate page; empty if rendering failed.
    """
    version = verdict.version
    with effect("registration.verdict"):
        client.set_model_version_tag(version.name, str(version.version), lineage.GATE_KEY, "")
        for tag, value in {lineage.GATE_PAGE: page, **lineage.verdict_tags(verdict)}.items():
            client.set_model_version_tag(version.name, str(version.version), tag, value)
            fault_point("registration.after_tag")
    text = "\n".join([f"Verdict: **{verdict.decision}**", "", *(f"- {each}" for each in verdict.reasons)])
    before = client.get_model_version(version.name, str(version.version)).description or ""
    client.update_model_version(version.name, str(version.version), _with_verdict(before, text))


@maps_tracking_errors
def record_page(client: MlflowClient, version: ModelVersion, page: str) -> None:
    """Store the key of a gate page that was rendered again for an unchanged verdict."""
    with effect("page.note"):
        client.set_model_version_tag(version.name, str(version.version), lineage.GATE_PAGE, page)


@maps_tracking_errors
def record_promotion(client: MlflowClient, verdict: Verdict) -> None:
    """Mark a verdict as carried out, so that later manual changes of production are kept."""
    with effect("registration.followed"):
        client.set_model_version_tag(
            verdict.version.name, str(verdict.version.version), lineage.PROMOTED_BY, verdict.key
        )


def _create(
    client: MlflowClient,
    project: Project,
    evaluation: Evaluation,
    provenance: Provenance,
    name: str,
    key: str,
    run_id: str,
) -> Registered:
    from mlflow.exceptions import MlflowException

    stored = upload.log(client, run_id, evaluation)
    with effect("registration.model"):
        try:
            client.create_registered_model(name, description=f"Registered by `modelworks run`, config `{name}`.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    tags = {
        **lineage.version_tags(
            evaluation,
            pipeline_key=key,
            run_id=run_id,
            experiment_id=str(client.get_run(run_id).info.experiment_id),
            digest=stored.digest,
            golden=stored.golden,
        ),
        **provenance_record.store(client, project, evaluation, provenance, name=name, run_id=run_id),
    }

    def create() -> Registered:
        # Created with its tags, so that it never exists without its key.
        return registered(
            client.create_model_version(
                name,
                source=stored.source,
                run_id=run_id,
                model_id=stored.model_id,
                tags=tags,
                description=_description(evaluation),
                await_creation_for=READY_SECONDS,
            )
        )

    with effect("registration.version"):
        return created(client, create, lambda: queries.find(client, name, key))


def _name_run(client: MlflowClient, version: Registered) -> None:
    """Name a version's run after it, unless the user has renamed the run."""
    run = client.get_run(version.run_id).info
    if run.run_name == version.name and run.lifecycle_stage == "active":
        with effect("registration.name"):
            client.update_run(version.run_id, name=f"{version.name} v{version.version}")


def _with_verdict(description: str, text: str) -> str:
    """Replace the verdict in a description, or append it; keep the rest."""
    earlier = EARLIER_VERDICT.search(description)
    start, end = earlier.span() if earlier else (len(description.rstrip()), len(description))
    room = lineage.LONGEST - (len(description) - (end - start)) - 2
    return f"{description[:start].rstrip()}\n\n{text[:room]}{description[end:]}".lstrip() if room > 0 else description


def _description(evaluation: Evaluation) -> str:
    dataset = evaluation.trained.report.dataset
    metrics = (f"- {name} {value}" for name, value in evaluation.metrics.items())
    return "\n".join([f"Data `{dataset.name}` {dataset.digest}, {evaluation.rows:,} test rows", "", *metrics])
