"""Fixtures of a small registry, and warnings of pinned libraries that its tests ignore."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples.registry_fixtures import *  # noqa: F403  # each is a fixture, listed in __all__


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            # MLflow's log_table uses a deprecated option of pandas 3; both are pinned.
            item.add_marker(pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes"))
            # Importing mlflow.pyfunc warns about a type hint in MLflow's code.
            item.add_marker(pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"))
