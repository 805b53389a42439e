"""Production that was moved behind our back, in MLflow's pages or by its client, is found by comparing with the journal."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.registry.backend.error_mapping import said_clearly
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.production import audit_log
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

    from modelworks.registry.versions.queries import Registered

__all__ = ["Stray", "moved_behind_our_back", "promotion_hint", "unexplained"]


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A production alias that is not where the journal left it."""

    name: str
    left: int
    """The version that the journal left it on; 0 for none."""
    found: int
    """The version it is on; 0 for none."""
    way_out: str
    """Commands for either answer to which of the two was meant; they name versions that exist."""

    @property
    def message(self) -> str:
        return (
            f"production of {self.name} is {queries.numbered(self.found)}, but the journal left it on {queries.numbered(self.left)}: "
            "something else moved the alias"
        )


@said_clearly
def unexplained(client: MlflowClient, name: str) -> Stray | None:
    """How production of a model differs from what the journal says; None when it does not.

    A move that is under way explains itself: its intent names the version. So does one that was cut off, which
    `settle` will close.
    """
    while True:
        found, newest = queries.production(client, name), audit_log.last(client, name)
        left = newest.after if newest is not None else 0
        if found == left or any(move.after == found for move in audit_log.unfinished(client, name)):
            return None
        if queries.production(client, name) == found and audit_log.last(client, name) == newest:
            return Stray(name=name, left=left, found=found, way_out=_way_out(client, name, left, found))
        # Somebody moved it while we looked: look again.


@said_clearly
def moved_behind_our_back(client: MlflowClient) -> list[Stray]:
    """Every model of the store whose production something outside the journal moved."""
    models: list[RegisteredModel] = all_pages(lambda token: client.search_registered_models(page_token=token))
    strays = (unexplained(client, model.name) for model in models)
    return [stray for stray in strays if stray is not None]


def promotion_hint(client: MlflowClient, name: str) -> str:
    """How a model without a production version gets one."""
    accepted = [each.version for each in _versions(client, name) if each.decision == "promote"]
    if not accepted:
        return f"the gate has accepted none of its versions: `modelworks why {shlex.quote(name)}` says why"
    return f"promote one: {_promote(name, accepted[-1])}"


def _way_out(client: MlflowClient, name: str, left: int, found: int) -> str:
    known = {each.version for each in _versions(client, name)}
    ways = [f"{_promote(name, found)} keeps it"] if found else []
    if left in known:
        ways.append(f"{_promote(name, left)} puts it back")
    elif left:
        ways.append(f"version {left} was deleted")
        ways += [promotion_hint(client, name)] if not found else []
    return "; ".join(ways)


def _versions(client: MlflowClient, name: str) -> list[Registered]:
    """Oldest first; none of a model whose versions were all deleted."""
    try:
        return queries.all_of(client, name)
    except BadInput:
        return []


def _promote(name: str, version: int) -> str:
    return f"modelworks promote {shlex.quote(name)} {version} --reason TEXT"


def _named(version: int) -> str:
    return f"version {version}" if version else "none"
