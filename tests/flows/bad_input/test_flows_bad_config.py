"""A wrong config is rejected before anything is written.

Every mistake is reported with its line and a hint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipelines.workspaces import Workspace

    from modelworks.project import Project

GOOD = """\
name: own
source:
  kind: digits
model:
  kind: cnn
train:
  epochs: 2
gate:
  minimums: {accuracy: 0.5}
"""


@pytest.fixture
def empty(project: Project, make_workspace: Callable[[Path], Workspace]) -> Workspace:
    return make_workspace(project.root)


def rejection(workspace: Workspace, *arguments: str) -> list[str]:
    """Return the lines of the error of a run that must fail before it writes anything."""
    before = sorted(workspace.root.rglob("*"))
    outcome = workspace.run("run", *arguments, "--json")
    assert outcome.code == 2
    assert outcome.only_the_error
    assert outcome.stderr.startswith("error: ")
    assert sorted(workspace.root.rglob("*")) == before
    return outcome.complaint


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("epochs: 2", "epochs: 2\n  epochs: 3"), "configs/own.yaml:8: epochs is given twice"),
        (("epochs: 2", "epochs: 2\n  sede: 1"), "configs/own.yaml:8: train.sede: unknown key; did you mean seed?"),
        (("epochs: 2", 'epochs: "2"'), 'configs/own.yaml:7: train.epochs: should be a valid integer, not "2"'),
        (("epochs: 2", "epochs: -2"), "configs/own.yaml:7: train.epochs: should be greater than or equal to 1, not -2"),
        (("{accuracy: 0.5}", "{}"), "configs/own.yaml:9: gate: minimums is empty: limit a metric"),
        (("kind: cnn", "kind: cmn"), 'configs/own.yaml:5: model.kind: there is no "cmn"; did you mean cnn?'),
        (("kind: digits", "kind: digit"), 'configs/own.yaml:3: source.kind: there is no "digit"; did you mean digits?'),
        (
            ("accuracy: 0.5", "f2: 0.5"),
            "configs/own.yaml:9: gate.minimums.f2 is not a metric of classification; use one of:",
        ),
        (("name: own", "name: [own"), "configs/own.yaml:2: not YAML:"),
        (("name: own", "# name: own"), "configs/own.yaml:1: name: is missing"),
        (("kind: cnn", "kind: transformer"), "model.kind transformer reads texts, but source.kind digits has images"),
    ],
    ids=[
        "duplicate key",
        "unknown key",
        "wrong type",
        "negative epochs",
        "empty gate",
        "unknown model kind",
        "unknown source kind",
        "unknown metric",
        "not YAML",
        "missing key",
        "a model that cannot read the data",
    ],
)
def test_mistake_is_reported_with_its_line(empty: Workspace, change: tuple[str, str], expected: str) -> None:
    config = empty.write_config("own", GOOD.replace(*change))
    lines = rejection(empty, config)
    assert expected in lines[0]
    assert len(lines) == 2


def test_all_mistakes_are_reported_at_once(empty: Workspace) -> None:
    wrong = [("epochs: 2", "epochs: 0"), ("kind: cnn", "kind: cnn\n  hiden: 3"), ("0.5", "high")]
    text = GOOD
    for change in wrong:
        text = text.replace(*change)
    lines = rejection(empty, empty.write_config("own", text))
    assert "configs/own.yaml: 3 mistakes" in lines[0]
    for place in ("own.yaml:6: model.hiden", "own.yaml:8: train.epochs", "own.yaml:10: gate.minimums.accuracy"):
        assert any(place in line for line in lines[1:4]), lines


def test_incompatible_fields_are_reported_at_once(empty: Workspace) -> None:
    text = GOOD.replace("kind: cnn", "kind: transformer").replace("0.5", "5")
    lines = rejection(empty, empty.write_config("own", text))
    assert "configs/own.yaml: 2 mistakes" in lines[0]
    for place in ("own.yaml:5: model.kind", "own.yaml:9: gate.minimums.accuracy"):
        assert any(place in line for line in lines[1:3]), lines


def test_missing_config_suggests_the_nearest_one(empty: Workspace) -> None:
    empty.write_config("own", GOOD)
    message, hint = rejection(empty, "configs/won.yaml")
    assert "configs/won.yaml" in message
    assert "configs/own.yaml" in hint


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs", "--set train.epochs: "),
        ("train.epochs=two", '--set train.epochs=two: train.epochs: should be a valid integer, not "two"'),
        ("train.epoch=2", "--set train.epoch=2: train.epoch: unknown key; did you mean epochs?"),
        ("name.first=2", "--set name.first=2: name is not a section"),
    ],
)
def test_wrong_override_is_named(empty: Workspace, override: str, expected: str) -> None:
    lines = rejection(empty, empty.write_config("own", GOOD), "--set", override)
    assert expected in lines[0]
    assert len(lines) == 2


def test_run_outside_a_project_hints_at_the_project_variable(
    tmp_path: Path, make_workspace: Callable[[Path], Workspace]
) -> None:
    message, hint = rejection(make_workspace(tmp_path), "configs/digits_cnn.yaml")
    assert str(tmp_path) in message
    assert "MODELWORKS_PROJECT" in hint
