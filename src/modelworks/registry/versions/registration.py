"""A version is made once per pipeline key, with its evidence on it; later the verdict, and that it was followed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelworks.fault_injection import effect, fault_point
from modelworks.records import Evaluation, ModelVersion, Verdict
from modelworks.registry.backend.error_mapping import said_clearly
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
"""What `record_verdict` wrote into a version's description."""


@said_clearly
def register(
    client: MlflowClient,
    project: Project,
    evaluation: Evaluation,
    *,
    making: Provenance,
    name: str,
    key: str,
    run_id: str,
    lock: Lock | None = None,
) -> ModelVersion:
    """The version of a model under a pipeline key; stored and created when there is none.

    However often it is called, and wherever an earlier call was cut off, there is one version per key.

    Args:
        client: of the store.
        project: whose lock is taken when none is given.
        evaluation: the evaluated model.
        making: what it was made from and with, for its record.
        name: of the registered model.
        key: the pipeline key.
        run_id: the run that the package is stored under when it is new.
        lock: that all who register in this store share; the project's by default.

    Raises:
        Corrupt: the saved model or its evaluation's data are damaged.
        Unavailable: the store does not answer, or another process keeps registering.
    """
    with (lock or choose_lock(project)).hold(f"register-{name}", f"registering {name}"):
        found = queries.find(client, name, key) or _create(client, project, evaluation, making, name, key, run_id)
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


@said_clearly
def record_verdict(client: MlflowClient, verdict: Verdict, page: str = "") -> None:
    """Write the gate's verdict onto its version, in place of an earlier one: until it is complete, neither counts.

    Args:
        client: of the store.
        verdict: the gate's.
        page: key of the page that was uploaded with it; empty when none could be rendered.
    """
    version = verdict.version
    with effect("registration.verdict"):
        client.set_model_version_tag(version.name, str(version.version), lineage.GATE_KEY, "")
        for tag, value in {lineage.GATE_PAGE: page, **lineage.verdict_tags(verdict)}.items():
            client.set_model_version_tag(version.name, str(version.version), tag, value)
            fault_point("registration.after_tag")
    said = "\n".join([f"Verdict: **{verdict.decision}**", "", *(f"- {each}" for each in verdict.reasons)])
    before = client.get_model_version(version.name, str(version.version)).description or ""
    client.update_model_version(version.name, str(version.version), _with_verdict(before, said))


@said_clearly
def record_page(client: MlflowClient, version: ModelVersion, page: str) -> None:
    """Note the key of a gate's page that was rendered again for a version whose verdict stands."""
    with effect("page.note"):
        client.set_model_version_tag(version.name, str(version.version), lineage.GATE_PAGE, page)


@said_clearly
def record_promotion(client: MlflowClient, verdict: Verdict) -> None:
    """Note on a version that a verdict was followed: it is followed once, whatever people do to production later."""
    with effect("registration.followed"):
        client.set_model_version_tag(
            verdict.version.name, str(verdict.version.version), lineage.PROMOTED_BY, verdict.key
        )


def _create(
    client: MlflowClient,
    project: Project,
    evaluation: Evaluation,
    making: Provenance,
    name: str,
    key: str,
    run_id: str,
) -> Registered:
    from mlflow.exceptions import MlflowException

    stored = upload.log(client, run_id, evaluation)
    with effect("registration.model"):
        try:
            client.create_registered_model(name, description=f"Made by `modelworks run`, config `{name}`.")
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
            probe=stored.probe,
        ),
        **provenance_record.store(client, project, evaluation, making, name=name, run_id=run_id),
    }

    def create() -> Registered:
        # The tags come with the version: there is no moment at which it exists without its key.
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
    """Name the run that made a version after it, unless a person gave it another name."""
    run = client.get_run(version.run_id).info
    if run.run_name == version.name and run.lifecycle_stage == "active":
        with effect("registration.name"):
            client.update_run(version.run_id, name=f"{version.name} v{version.version}")


def _with_verdict(description: str, said: str) -> str:
    """A description with a verdict in place of an earlier one, or at its end; the rest, a person's words too, stays."""
    earlier = EARLIER_VERDICT.search(description)
    start, end = earlier.span() if earlier else (len(description.rstrip()), len(description))
    room = lineage.LONGEST - (len(description) - (end - start)) - 2
    return f"{description[:start].rstrip()}\n\n{said[:room]}{description[end:]}".lstrip() if room > 0 else description


def _description(evaluation: Evaluation) -> str:
    dataset = evaluation.trained.report.dataset
    metrics = (f"- {name} {value}" for name, value in evaluation.metrics.items())
    return "\n".join([f"Data `{dataset.name}` {dataset.digest}, {evaluation.rows:,} test rows", "", *metrics])
