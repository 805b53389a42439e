"""The command line as a whole: what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Workspace

    from modelworks.project import Project

VERBS = ("run", "why", "promote", "rollback", "history", "up", "doctor")


@pytest.fixture
def empty(project: Project, make_workspace: Callable[[Path], Workspace]) -> Workspace:
    return make_workspace(project.root)


def test_help_shows_every_verb(empty: Workspace) -> None:
    outcome = empty.run("--help")
    assert outcome.code == 0
    for verb in VERBS:
        assert f" {verb} " in outcome.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_shows_its_options(empty: Workspace, verb: str) -> None:
    outcome = empty.run(verb, "--help")
    assert outcome.code == 0
    assert outcome.stdout.strip().startswith(f"Usage: modelworks {verb}")
    assert "--json" in outcome.stdout


def test_an_unknown_verb_is_bad_input(empty: Workspace) -> None:
    outcome = empty.run("rnu")
    assert outcome.code == 2
    assert "rnu" in outcome.stderr
    assert outcome.stdout == ""


def test_help_imports_none_of_the_large_libraries(empty: Workspace) -> None:
    loud = empty.with_environment(PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in loud.run("--help").stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint({"torch", "mlflow", "prefect", "great_expectations", "pandas", "numpy", "dvc"})
