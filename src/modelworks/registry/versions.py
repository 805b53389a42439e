"""Versions in the registry: made once per pipeline key, with their evidence on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.errors import BadInput, Refused
from modelworks.locks import locked
from modelworks.records import Evaluation, ModelVersion, Verdict
from modelworks.registry import lineage, package
from modelworks.registry.failures import said_clearly
from modelworks.registry.pages import all_pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entry

    from modelworks.project import Project

__all__ = [
    "PRODUCTION",
    "Registered",
    "all_of",
    "find",
    "get",
    "newest_accepted",
    "production",
    "record_promotion",
    "record_verdict",
    "register",
]

PRODUCTION = "production"
"""The alias."""
READY_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What the registry knows of a version."""

    name: str
    version: int
    tags: Mapping[str, str]

    @property
    def run_id(self) -> str:
        """Of the MLflow run that made it; empty for a version that this project did not register."""
        return self.tags.get(lineage.RUN, "")

    @property
    def experiment_id(self) -> str:
        """Of the experiment that run is in; empty likewise."""
        return self.tags.get(lineage.EXPERIMENT, "")

    @property
    def digest(self) -> str:
        """SHA-256 of its package; empty likewise."""
        return self.tags.get(lineage.DIGEST, "")

    @property
    def decision(self) -> str:
        """What the gate said; empty while it has not spoken."""
        return self.tags.get(lineage.DECISION, "")

    @property
    def gate_key(self) -> str:
        """Of the gate that gave the verdict; empty likewise."""
        return self.tags.get(lineage.GATE_KEY, "")

    @property
    def verdict(self) -> str:
        """The verdict as JSON; empty likewise."""
        return self.tags.get(lineage.VERDICT, "")

    @property
    def promoted_by(self) -> str:
        """The key of the gate whose verdict made it production; empty when none did."""
        return self.tags.get(lineage.PROMOTED_BY, "")


@said_clearly
def register(
    client: MlflowClient, project: Project, evaluation: Evaluation, *, name: str, key: str, run_id: str
) -> ModelVersion:
    """The version of a model under a pipeline key; stored and created when there is none.

    However often it is called, and wherever an earlier call was cut off, there is one version per key. The lock that
    ensures it is this machine's: with a shared server, let one machine register a model.

    Args:
        client: of the store.
        project: whose locks are taken.
        evaluation: the evaluated model.
        name: of the registered model.
        key: the pipeline key.
        run_id: the run that the package is stored under when it is new.

    Raises:
        Corrupt: the saved model or its evaluation's data are damaged.
        Unavailable: the store does not answer, or another process keeps registering.
    """
    with locked(project.locks / f"register-{name}.lock", f"registering {name}"):
        found = find(client, name, key) or _create(client, project, evaluation, name, key, run_id)
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
def find(client: MlflowClient, name: str, key: str) -> Registered | None:
    """The version that was registered under a pipeline key."""
    found = client.search_model_versions(f"name = '{name}' AND tags.`{lineage.PIPELINE_KEY}` = '{key}'")
    # Two could only come from two machines at once: the older one is the one that was reported.
    return min(map(_registered, found), key=lambda each: each.version, default=None)


@said_clearly
def get(client: MlflowClient, name: str, version: int) -> Registered:
    """A version by number.

    Raises:
        BadInput: there is none.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _registered(client.get_model_version(name, str(version)))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    known = [each.version for each in all_of(client, name)]
    raise BadInput(f"{name} has no version {version}", f"its versions are {', '.join(map(str, known[-20:]))}")


@said_clearly
def all_of(client: MlflowClient, name: str) -> list[Registered]:
    """The versions of a model, oldest first.

    Raises:
        BadInput: there is no such model.
    """
    found: list[Entry] = all_pages(lambda token: client.search_model_versions(f"name = '{name}'", page_token=token))
    if found:
        return sorted(map(_registered, found), key=lambda each: each.version)
    names = sorted(each.name for each in client.search_registered_models())
    raise BadInput(
        f"there is no registered model {name!r}", f"there are: {', '.join(names) or 'none yet, run a config first'}"
    )


def newest_accepted(client: MlflowClient, name: str) -> int:
    """The newest version that the gate accepted.

    Raises:
        BadInput: there is no such model.
        Refused: the gate accepted none.
    """
    accepted = [each.version for each in all_of(client, name) if each.decision == "promote"]
    if not accepted:
        raise Refused(f"the gate has accepted no version of {name}", f"`modelworks why {name}` says why")
    return accepted[-1]


@said_clearly
def production(client: MlflowClient, name: str) -> int:
    """The version that is production; 0 for none."""
    from mlflow.exceptions import MlflowException

    try:
        return int(client.get_model_version_by_alias(name, PRODUCTION).version)
    except MlflowException as error:
        # A missing alias is an invalid parameter to MLflow, a missing model does not exist.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return 0


@said_clearly
def record_verdict(client: MlflowClient, verdict: Verdict) -> None:
    """Write the gate's verdict onto its version; writing it again changes nothing."""
    version = verdict.version
    for tag, value in lineage.verdict_tags(verdict).items():
        client.set_model_version_tag(version.name, str(version.version), tag, value)
    text = "\n".join(
        [
            _description(version.evaluation),
            "",
            f"Verdict: **{verdict.decision}**",
            "",
            *(f"- {each}" for each in verdict.reasons),
        ]
    )
    client.update_model_version(version.name, str(version.version), text[: lineage.LONGEST])


@said_clearly
def record_promotion(client: MlflowClient, verdict: Verdict) -> None:
    """Note on a version that a verdict was followed: it is followed once, whatever people do to production later."""
    client.set_model_version_tag(verdict.version.name, str(verdict.version.version), lineage.PROMOTED_BY, verdict.key)


def _create(
    client: MlflowClient, project: Project, evaluation: Evaluation, name: str, key: str, run_id: str
) -> Registered:
    from mlflow.exceptions import MlflowException

    stored = package.log(client, run_id, evaluation)
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
        **lineage.commit_tags(project.root),
    }
    # The tags come with the version: there is no moment at which it exists without its key.
    return _registered(
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


def _registered(entry: Entry) -> Registered:
    return Registered(name=entry.name, version=int(entry.version), tags=dict(entry.tags))


def _description(evaluation: Evaluation) -> str:
    dataset = evaluation.trained.report.dataset
    metrics = (f"- {name} {value}" for name, value in evaluation.metrics.items())
    return "\n".join([f"Data `{dataset.name}` {dataset.digest}, {evaluation.rows:,} test rows", "", *metrics])
