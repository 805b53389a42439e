"""Query the versions of a model and its production version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelworks import record_json
from modelworks.errors import BadInput, Refused
from modelworks.records import decision
from modelworks.registry.backend.error_mapping import maps_tracking_errors
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
"""The alias of the production version."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A registered version with its tags."""

    name: str
    version: int
    tags: Mapping[str, str]

    @property
    def run_id(self) -> str:
        """The MLflow run that registered it; empty for a version that modelworks did not register."""
        return self.tags.get(tags.RUN, "")

    @property
    def experiment_id(self) -> str:
        """The experiment of that run; may be empty too."""
        return self.tags.get(tags.EXPERIMENT, "")

    @property
    def digest(self) -> str:
        """SHA-256 of its package listing; may be empty too."""
        return self.tags.get(tags.DIGEST, "")

    @property
    def decision(self) -> str:
        """The gate's decision; empty until its verdict is complete."""
        return decision(self._verdict_tag(tags.DECISION))

    @property
    def gate_key(self) -> str:
        """The key of the gate; empty until the verdict is complete."""
        return self.tags.get(tags.GATE_KEY, "")

    @property
    def gate_page(self) -> str:
        """Key of the gate page on its run; empty if rendering failed."""
        return self.tags.get(tags.GATE_PAGE, "")

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict as JSON values; empty until it is complete."""
        stored = self._verdict_tag(tags.VERDICT)
        return record_json.verdict(json.loads(stored)) if stored else {}

    @property
    def promoted_by(self) -> str:
        """The key of the gate whose verdict promoted it; empty if none did."""
        return self.tags.get(tags.PROMOTED_BY, "")

    def _verdict_tag(self, tag: str) -> str:
        # The gate key is empty while a verdict is replaced: the other tags are then a mix of two verdicts.
        return "" if self.tags.get(tags.GATE_KEY) == "" else self.tags.get(tag, "")


@maps_tracking_errors
def find(client: MlflowClient, name: str, key: str) -> Registered | None:
    """Return the version with a pipeline key; None if there is none."""
    found = client.search_model_versions(f"name = '{name}' AND tags.`{tags.PIPELINE_KEY}` = '{key}'")
    # Two versions are possible only without a shared lock; the older one was reported.
    return min(map(registered, found), key=lambda each: each.version, default=None)


@maps_tracking_errors
def get(client: MlflowClient, name: str, version: int) -> Registered:
    """Return a version by its number.

    Raises:
        BadInput: there is no such version.
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


@maps_tracking_errors
def all_of(client: MlflowClient, name: str) -> list[Registered]:
    """Return the versions of a model, oldest first.

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
    """Return the newest version that the gate accepted.

    Raises:
        BadInput: there is no such model.
        Refused: the gate accepted none.
    """
    accepted = [each.version for each in all_of(client, name) if each.decision == "promote"]
    if not accepted:
        raise Refused(
            f"the gate has accepted no version of {name}",
            f"see `modelworks why {name}`",
            code="production.not-accepted",
        )
    return accepted[-1]


@maps_tracking_errors
def production(client: MlflowClient, name: str) -> int:
    """Return the production version; 0 for none."""
    from mlflow.exceptions import MlflowException

    try:
        return int(client.get_model_version_by_alias(name, PRODUCTION).version)
    except MlflowException as error:
        # MLflow has another error code for a missing alias than for a missing model.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return 0


def registered(entry: Entry) -> Registered:
    """Convert a model version of MLflow."""
    return Registered(name=entry.name, version=int(entry.version), tags=dict(entry.tags))


def numbered(version: int) -> str:
    """Return "version N", or "none" for 0."""
    return f"version {version}" if version else "none"
