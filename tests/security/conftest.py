"""Small registries and whole pipelines: the fixtures of both rooms, for what is attacked here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def _fixtures_of(room: str) -> dict[str, object]:
    """What a conftest.py of another room defines: pytest itself shares none with a sibling."""
    name = f"fixtures_of_{room}"
    spec = importlib.util.spec_from_file_location(name, TESTS / room / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {each: value for each, value in vars(module).items() if not each.startswith(("__", "pytest_"))}


globals().update(_fixtures_of("registry"))
globals().update(_fixtures_of("flows"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            # Importing mlflow.pyfunc warns of a type hint in MLflow's own code; log_table of pandas 3. Both are pinned.
            item.add_marker(pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"))
            item.add_marker(pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes"))
