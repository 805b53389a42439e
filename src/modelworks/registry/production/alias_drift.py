"""Detect that the production alias was moved outside modelworks."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.production import audit_log
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

    from modelworks.registry.versions.queries import Registered

__all__ = ["AliasDrift", "all_alias_drift", "find_alias_drift", "promotion_hint"]


@dataclass(frozen=True, kw_only=True)
class AliasDrift:
    """A production alias that differs from the audit log."""

    name: str
    left: int
    """The version in the audit log; 0 for none."""
    found: int
    """The version of the alias; 0 for none."""
    hint: str
    """Commands that keep the new version or restore the recorded one, if it exists."""

    @property
    def message(self) -> str:
        return (
            f"production of {self.name} is {queries.numbered(self.found)}, but {queries.numbered(self.left)} in the audit log: "
            "the alias was moved outside modelworks"
        )


@maps_tracking_errors
def find_alias_drift(client: MlflowClient, name: str) -> AliasDrift | None:
    """Return how production differs from the audit log; None if it does not.

    An unfinished move to the current version is no drift: it is in progress, or `settle` will complete it.
    """
    while True:
        found, newest = queries.production(client, name), audit_log.last(client, name)
        left = newest.after if newest is not None else 0
        if found == left or any(move.after == found for move in audit_log.unfinished(client, name)):
            return None
        if queries.production(client, name) == found and audit_log.last(client, name) == newest:
            return AliasDrift(name=name, left=left, found=found, hint=_hint(client, name, left, found))
        # It was moved between the two reads: read again.


@maps_tracking_errors
def all_alias_drift(client: MlflowClient) -> list[AliasDrift]:
    """Return the models whose production alias was moved outside modelworks."""
    models: list[RegisteredModel] = all_pages(lambda token: client.search_registered_models(page_token=token))
    drifted = (find_alias_drift(client, model.name) for model in models)
    return [drift for drift in drifted if drift is not None]


def promotion_hint(client: MlflowClient, name: str) -> str:
    """Return the hint for a model without a production version."""
    accepted = [each.version for each in _versions(client, name) if each.decision == "promote"]
    if not accepted:
        return f"the gate has accepted none of its versions: see `modelworks why {shlex.quote(name)}`"
    return f"promote one: {_promote(name, accepted[-1])}"


def _hint(client: MlflowClient, name: str, left: int, found: int) -> str:
    known = {each.version for each in _versions(client, name)}
    hints = [f"{_promote(name, found)} keeps it"] if found else []
    if left in known:
        hints.append(f"{_promote(name, left)} restores it")
    elif left:
        hints.append(f"version {left} was deleted")
        hints += [promotion_hint(client, name)] if not found else []
    return "; ".join(hints)


def _versions(client: MlflowClient, name: str) -> list[Registered]:
    """Return the versions of a model, oldest first; empty if all were deleted."""
    try:
        return queries.all_of(client, name)
    except BadInput:
        return []


def _promote(name: str, version: int) -> str:
    return f"modelworks promote {shlex.quote(name)} {version} --reason TEXT"
