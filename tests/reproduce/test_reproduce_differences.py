"""Differences between the ingredients of real plans are reported by kind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from samples.plans import complete_plan
from samples.runs import DATASET

from modelworks.config import run_config as configuration
from modelworks.project import Project
from modelworks.reproduce import differences
from modelworks.reproduce.capture import ingredients

DIGITS = Path(__file__).parents[2] / "configs" / "digits_cnn.yaml"


def parts(project: Project, *overrides: str, digest: str = DATASET.digest) -> dict[str, dict[str, str]]:
    """Return the ingredients of a plan."""
    config = configuration.load(DIGITS, ["compute.device=cpu", "compute.precision=fp32", *overrides])
    plan = complete_plan(project, config, dataclasses.replace(DATASET, digest=digest))
    return {name: dict(each) for name, each in ingredients(plan).items()}


@pytest.mark.parametrize(
    ("override", "kind", "name"),
    [
        ("train.seed=1", "seed", "train.seed"),
        ("compute.threads=1", "threads", "compute.threads"),
        ("compute.processes=2", "processes", "compute.processes"),
        ("compute.precision=bf16", "hardware", "compute.precision"),
        ("train.epochs=2", "config", "train.epochs"),
        ("split.salt=other", "config", "split.salt"),
    ],
)
def test_changed_field_is_the_only_cause(project: Project, override: str, kind: str, name: str) -> None:
    (cause,) = differences.of_ingredients(parts(project), parts(project, override))
    assert (cause.kind, cause.name) == (kind, name)
    assert cause.recorded != cause.now


def test_changed_data_is_the_only_cause(project: Project) -> None:
    (cause,) = differences.of_ingredients(parts(project), parts(project, digest="f" * 32 + ".dir"))
    assert cause.kind == "data"
    assert str(cause) == "data: the data version differs"


def test_changed_source_and_library_are_reported(project: Project) -> None:
    now = parts(project)
    now["train"]["source of modelworks.models.cnn"] = "edited"
    now["train"]["library torch"] = "2.14.0"
    found = {str(each) for each in differences.of_ingredients(parts(project), now)}
    torch = parts(project)["train"]["library torch"]
    assert found == {"code: modelworks.models.cnn differs", f"libraries: torch {torch} -> 2.14.0"}


def test_equal_ingredients_have_no_cause(project: Project) -> None:
    assert differences.of_ingredients(parts(project), parts(project)) == ()
    assert differences.of_processor("a", "a") == ()


def test_added_and_removed_libraries_are_reported() -> None:
    found = differences.of_libraries({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"})
    assert [str(each) for each in found] == [
        "libraries: b 1 -> 2",
        "libraries: c 1 -> none",
        "libraries: d none -> 1",
    ]
    (only,) = differences.of_libraries({"a": "1", "b": "1"}, {"a": "2", "b": "2"}, {"a"})
    assert str(only) == "libraries: a 1 -> 2"


def test_computing_libraries_exclude_mlflow_and_prefect(project: Project) -> None:
    assert {"torch", "numpy", "safetensors", "pillow"} <= differences.computing(parts(project))
    assert not {"mlflow", "prefect"} & differences.computing(parts(project))
