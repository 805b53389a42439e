"""How a person names a version: MODEL, MODEL@alias, MODEL/3, or MODEL and 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.registry.backend.error_mapping import said_clearly
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

__all__ = ["named"]


@said_clearly
def named(client: MlflowClient, text: str, number: int | None) -> Registered:
    """The version that a person means; the production one when only the model is named.

    Raises:
        BadInput: there is none of that name, or it is named twice.
    """
    text = text.removeprefix("models:/")
    model, at, alias = text.partition("@")
    model, slash, written = model.partition("/")
    if sum([bool(at), bool(slash), number is not None]) > 1:
        raise BadInput(
            f"{text}: a version is named in two ways",
            "say MODEL, MODEL@alias, MODEL/3 or MODEL 3",
            code="version.reference",
        )
    if slash and not written.isdigit():
        raise BadInput(
            f"{text}: {written!r} is no number of a version", "say MODEL/3, or MODEL@alias", code="version.reference"
        )
    if number is not None or slash:
        return queries.get(client, model, number if number is not None else int(written))
    known = queries.all_of(client, model)  # says which models there are when this is none
    found = _under_alias(client, model, alias or queries.PRODUCTION)
    if found is None:
        raise BadInput(
            f"{model} has no version with the alias {alias or queries.PRODUCTION}",
            f"its versions are {', '.join(str(each.version) for each in known[-20:])}: say e.g. {model}/{known[-1].version}",
            code="version.unknown-alias",
        )
    return queries.get(client, model, found)


def _under_alias(client: MlflowClient, model: str, alias: str) -> int | None:
    found = client.get_registered_model(model).aliases.get(alias)
    return int(found) if found is not None else None
