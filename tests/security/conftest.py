"""Make the fixtures of tests/registry and tests/flows available: small registries and complete pipelines."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def _fixtures_of(folder: str) -> dict[str, object]:
    """Return the definitions of a sibling folder's conftest.py, which pytest does not share."""
    name = f"fixtures_of_{folder}"
    spec = importlib.util.spec_from_file_location(name, TESTS / folder / "conftest.py")
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
            # mlflow.pyfunc warns about a type hint of MLflow, and log_table about pandas 3. Both versions are pinned.
            item.add_marker(pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"))
            item.add_marker(pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes"))
