"""A registry with two versions, and promotion."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from registry.health.two_versions import NAME, Promote

from modelworks.project import Project
from modelworks.registry.production import promotion as moves

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.production.audit_log import Move


@pytest.fixture
def promote(client: MlflowClient, project: Project) -> Promote:
    """Promote without verification."""

    def call(version: int) -> Move | None:
        return moves.promote(
            client,
            project,
            NAME,
            version,
            expected=None,
            reason="a test",
            who="a test",
            evidence={},
            proof=lambda *_: {},
        )

    return call


@pytest.fixture
def two(register: Callable[..., Any], promote: Promote) -> None:
    """Two accepted versions; the second is production."""
    for seed in (0, 1):
        promote(register(seed).version)
