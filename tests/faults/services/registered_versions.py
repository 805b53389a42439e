"""Versions of one model, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "small"


def numbers(client: MlflowClient, name: str) -> list[int]:
    """Return the version numbers of a model, sorted."""
    return sorted(int(each.version) for each in client.search_model_versions(f"name = '{name}'"))
