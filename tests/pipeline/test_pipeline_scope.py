"""The lists of modules match the source.

A renamed module would silently count for every key.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import modelworks
from modelworks.objectives.config import KINDS
from modelworks.pipeline import scope
from modelworks.records import INPUT_KINDS

PACKAGE = Path(modelworks.__file__).parent
OBJECTIVES = {kind: (f"modelworks.objectives.{kind}", *scope.check_modules(kind)) for kind in KINDS}
NAMED = sorted(
    {
        *scope.NEVER,
        *scope.AUGMENTATION,
        *scope.ON_DEMAND,
        *(module for each in (scope.modality_modules(), OBJECTIVES) for modules in each.values() for module in modules),
    }
)


@pytest.mark.parametrize("module", NAMED)
def test_every_listed_module_exists(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


def test_every_modality_module_is_listed() -> None:
    found = {path.stem for path in (PACKAGE / "modalities").glob("*.py")} - {"__init__", "base"}
    named = [module.rpartition(".")[2] for modules in scope.modality_modules().values() for module in modules]
    assert sorted(found) == sorted(named)
    assert set(scope.modality_modules()) <= set(INPUT_KINDS)


def test_every_objective_module_is_listed() -> None:
    shared = {"__init__", "base", "config", "data_checks", "figures", "row_statistics"}
    found = {path.stem for path in (PACKAGE / "objectives").glob("*.py")} - shared
    assert found == {module.rpartition(".")[2] for modules in OBJECTIVES.values() for module in modules}
