"""Resolve version references: MODEL, MODEL@alias, MODEL/3, or MODEL and 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

__all__ = ["named"]


@maps_tracking_errors
def named(client: MlflowClient, text: str, number: int | None) -> Registered:
    """Return the referenced version; the production version if only the model is given.

    Raises:
        BadInput: there is no such version, or the reference is ambiguous.
    """
    text = text.removeprefix("models:/")
    model, at, alias = text.partition("@")
    model, slash, written = model.partition("/")
    if sum([bool(at), bool(slash), number is not None]) > 1:
        raise BadInput(
            f"{text}: the version is given twice",
            "use MODEL, MODEL@alias, MODEL/3 or MODEL 3",
            code="version.reference",
        )
    if slash and not written.isdigit():
        raise BadInput(
            f"{text}: {written!r} is not a version number", "use MODEL/3, or MODEL@alias", code="version.reference"
        )
    if number is not None or slash:
        return queries.get(client, model, number if number is not None else int(written))
    known = queries.all_of(client, model)  # raises if there is no such model
    found = _under_alias(client, model, alias or queries.PRODUCTION)
    if found is None:
        raise BadInput(
            f"{model} has no version with the alias {alias or queries.PRODUCTION}",
            f"its versions are {', '.join(str(each.version) for each in known[-20:])}: use e.g. {model}/{known[-1].version}",
            code="version.unknown-alias",
        )
    return queries.get(client, model, found)


def _under_alias(client: MlflowClient, model: str, alias: str) -> int | None:
    found = client.get_registered_model(model).aliases.get(alias)
    return int(found) if found is not None else None
