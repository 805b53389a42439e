"""Production that was moved behind our back, in MLflow's pages or by its client, is found by comparing with the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelworks.registry.backend.error_mapping import said_clearly
from modelworks.registry.backend.pagination import all_pages
from modelworks.registry.production import audit_log
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

__all__ = ["Stray", "moved_behind_our_back", "unexplained"]


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A production alias that is not where the journal left it."""

    name: str
    left: int
    """The version that the journal left it on; 0 for none."""
    found: int
    """The version it is on; 0 for none."""

    @property
    def message(self) -> str:
        return (
            f"production of {self.name} is {queries.numbered(self.found)}, but the journal left it on {queries.numbered(self.left)}: "
            "something else moved the alias"
        )

    @property
    def way_out(self) -> str:
        keep = f"modelworks promote {self.name} {self.found} --reason TEXT keeps it" if self.found else ""
        back = f"modelworks promote {self.name} {self.left} --reason TEXT puts it back" if self.left else ""
        return "; ".join(filter(None, (keep, back)))


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
            return Stray(name=name, left=left, found=found)
        # Somebody moved it while we looked: look again.


@said_clearly
def moved_behind_our_back(client: MlflowClient) -> list[Stray]:
    """Every model of the store whose production something outside the journal moved."""
    models: list[RegisteredModel] = all_pages(lambda token: client.search_registered_models(page_token=token))
    strays = (unexplained(client, model.name) for model in models)
    return [stray for stray in strays if stray is not None]
