"""A config that is wrong: every mistake with its line and the way out, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Workspace

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


def refused(workspace: Workspace, *arguments: str) -> list[str]:
    """The lines of the complaint about a run that must be refused before it has written anything."""
    before = sorted(workspace.root.rglob("*"))
    outcome = workspace.run("run", *arguments, "--json")
    assert outcome.code == 2
    assert outcome.only_the_error
    assert outcome.stderr.startswith("error: ")
    assert sorted(workspace.root.rglob("*")) == before
    return outcome.complaint


@pytest.mark.parametrize(
    ("change", "said"),
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
            "configs/own.yaml:9: gate.minimums.f2 is no metric of classification; there are:",
        ),
        (("name: own", "name: [own"), "configs/own.yaml:2: not YAML:"),
        (("name: own", "# name: own"), "configs/own.yaml:1: name: is missing"),
        (("kind: cnn", "kind: transformer"), "model.kind transformer reads texts, but source.kind digits holds images"),
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
def test_a_mistake_is_named_with_its_line(empty: Workspace, change: tuple[str, str], said: str) -> None:
    config = empty.write_config("own", GOOD.replace(*change))
    complaint = refused(empty, config)
    assert said in complaint[0]
    assert len(complaint) == 2


def test_several_mistakes_are_listed_at_once(empty: Workspace) -> None:
    wrong = [("epochs: 2", "epochs: 0"), ("kind: cnn", "kind: cnn\n  hiden: 3"), ("0.5", "high")]
    text = GOOD
    for change in wrong:
        text = text.replace(*change)
    complaint = refused(empty, empty.write_config("own", text))
    assert "configs/own.yaml: 3 mistakes" in complaint[0]
    for place in ("own.yaml:6: model.hiden", "own.yaml:8: train.epochs", "own.yaml:10: gate.minimums.accuracy"):
        assert any(place in line for line in complaint[1:4]), complaint


def test_fields_that_do_not_go_together_are_listed_at_once(empty: Workspace) -> None:
    text = GOOD.replace("kind: cnn", "kind: transformer").replace("0.5", "5")
    complaint = refused(empty, empty.write_config("own", text))
    assert "configs/own.yaml: 2 mistakes" in complaint[0]
    for place in ("own.yaml:5: model.kind", "own.yaml:9: gate.minimums.accuracy"):
        assert any(place in line for line in complaint[1:3]), complaint


def test_a_missing_config_is_named_with_the_nearest_one(empty: Workspace) -> None:
    empty.write_config("own", GOOD)
    assert refused(empty, "configs/won.yaml") == [
        "error: configs/won.yaml: no such config",
        "  did you mean configs/own.yaml?",
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epochs", "--set train.epochs: not of the form section.key=value"),
        ("train.epochs=two", '--set train.epochs=two: train.epochs: should be a valid integer, not "two"'),
        ("train.epoch=2", "--set train.epoch=2: train.epoch: unknown key; did you mean epochs?"),
        ("name.first=2", "--set name.first=2: name is not a section"),
    ],
)
def test_a_wrong_override_is_named(empty: Workspace, override: str, said: str) -> None:
    complaint = refused(empty, empty.write_config("own", GOOD), "--set", override)
    assert said in complaint[0]
    assert len(complaint) == 2


def test_outside_a_project_the_way_to_one_is_told(tmp_path: Path, make_workspace: Callable[[Path], Workspace]) -> None:
    complaint = refused(make_workspace(tmp_path), "configs/digits_cnn.yaml")
    assert f"{tmp_path} is not inside a modelworks project" in complaint[0]
    assert "MODELWORKS_PROJECT" in complaint[1]
