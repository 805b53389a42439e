"""A small registry, and a name per test on a shared server."""

from __future__ import annotations

import hashlib

import pytest
from faults.services.registered_versions import NAME
from samples.registry_fixtures import *  # noqa: F403  # fixtures of a small registry


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a name for the test's model and experiment, because the tests share a server."""
    return f"{NAME}-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]}"
