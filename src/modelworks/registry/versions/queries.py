"""What the registry knows of a model's versions, and which of them is production."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelworks import record_json
from modelworks.errors import BadInput, Refused
from modelworks.records import decision
from modelworks.registry.backend.error_mapping import said_clearly
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.tracking import tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entry

__all__ = [
    "PRODUCTION",
    "Registered",
    "all_of",
    "find",
    "get",
    "newest_accepted",
    "numbered",
    "production",
    "registered",
]

PRODUCTION = "production"
"""The alias."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What the registry knows of a version."""

    name: str
    version: int
    tags: Mapping[str, str]

    @property
    def run_id(self) -> str:
        """Of the MLflow run that made it; empty for a version that this project did not register."""
        return self.tags.get(tags.RUN, "")

    @property
    def experiment_id(self) -> str:
        """Of the experiment that run is in; empty likewise."""
        return self.tags.get(tags.EXPERIMENT, "")

    @property
    def digest(self) -> str:
        """SHA-256 of its package; empty likewise."""
        return self.tags.get(tags.DIGEST, "")

    @property
    def decision(self) -> str:
        """The gate's decision; empty until its verdict is complete."""
        return decision(self._said(tags.DECISION))

    @property
    def gate_key(self) -> str:
        """Of the gate that gave the verdict; empty likewise."""
        return self.tags.get(tags.GATE_KEY, "")

    @property
    def gate_page(self) -> str:
        """Key of the gate's page on its run; empty when none could be rendered."""
        return self.tags.get(tags.GATE_PAGE, "")

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict as JSON values; empty likewise."""
        stored = self._said(tags.VERDICT)
        return record_json.verdict(json.loads(stored)) if stored else {}

    @property
    def promoted_by(self) -> str:
        """The key of the gate whose verdict made it production; empty when none did."""
        return self.tags.get(tags.PROMOTED_BY, "")

    def _said(self, tag: str) -> str:
        # An empty key stands there while one verdict is replaced by another: what can be read is of both.
        return "" if self.tags.get(tags.GATE_KEY) == "" else self.tags.get(tag, "")


@said_clearly
def find(client: MlflowClient, name: str, key: str) -> Registered | None:
    """The version that was registered under a pipeline key."""
    found = client.search_model_versions(f"name = '{name}' AND tags.`{tags.PIPELINE_KEY}` = '{key}'")
    # Two could only come from machines that share no lock: the older one is the one that was reported.
    return min(map(registered, found), key=lambda each: each.version, default=None)


@said_clearly
def get(client: MlflowClient, name: str, version: int) -> Registered:
    """A version by number.

    Raises:
        BadInput: there is none.
    """
    from mlflow.exceptions import MlflowException

    try:
        return registered(client.get_model_version(name, str(version)))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    known = [each.version for each in all_of(client, name)]
    raise BadInput(
        f"{name} has no version {version}",
        f"its versions are {', '.join(map(str, known[-20:]))}",
        code="version.unknown",
    )


@said_clearly
def all_of(client: MlflowClient, name: str) -> list[Registered]:
    """The versions of a model, oldest first.

    Raises:
        BadInput: there is no such model.
    """
    found: list[Entry] = all_pages(lambda token: client.search_model_versions(f"name = '{name}'", page_token=token))
    if found:
        return sorted(map(registered, found), key=lambda each: each.version)
    names = sorted(each.name for each in client.search_registered_models())
    raise BadInput(
        f"there is no registered model {name!r}",
        f"there are: {', '.join(names) or 'none yet, run a config first'}",
        code="model.unknown",
    )


def newest_accepted(client: MlflowClient, name: str) -> int:
    """The newest version that the gate accepted.

    Raises:
        BadInput: there is no such model.
        Refused: the gate accepted none.
    """
    accepted = [each.version for each in all_of(client, name) if each.decision == "promote"]
    if not accepted:
        raise Refused(
            f"the gate has accepted no version of {name}",
            f"`modelworks why {name}` says why",
            code="production.not-accepted",
        )
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


def registered(entry: Entry) -> Registered:
    """One of MLflow's entries."""
    return Registered(name=entry.name, version=int(entry.version), tags=dict(entry.tags))


def numbered(version: int) -> str:
    """Return a version's number in words; 0 is none."""
    return f"version {version}" if version else "none"
