"""Promotion and rollback without a command line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from registry.production.promotion_types import Promote

from modelworks.registry.production import promotion
from modelworks.registry.verification.verify_version import prove
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project
    from modelworks.registry.verification.isolated_process import IsolatedModel


@pytest.fixture
def promote(client: MlflowClient, project: Project, isolated_model: IsolatedModel) -> Promote:
    """Promote with default arguments."""

    def call(version: int, expected: int | None = None, **named: Any) -> int:
        given: dict[str, Any] = {"reason": "the gate's verdict", "who": "a test", "evidence": {"why": 1}} | named
        proof = partial(prove, process=isolated_model, other_libraries=given.get("override", False))
        return promotion.promote(client, project, "small", version, expected=expected, **{"proof": proof, **given})

    return call


@pytest.fixture
def rollback(client: MlflowClient, project: Project, isolated_model: IsolatedModel) -> Callable[[], int]:
    """Roll back and return the production version."""

    def call() -> int:
        proof = partial(prove, process=isolated_model)
        promotion.rollback(client, project, "small", reason="worse in the shop", who="a test", proof=proof)
        return queries.production(client, "small")

    return call
