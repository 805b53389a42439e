"""The help texts of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipelines.workspaces import Workspace

    from modelworks.project import Project

COMMANDS = ("run", "why", "promote", "rollback", "history", "up", "doctor")


@pytest.fixture
def empty(project: Project, make_workspace: Callable[[Path], Workspace]) -> Workspace:
    return make_workspace(project.root)


def test_help_lists_every_command(empty: Workspace) -> None:
    outcome = empty.run("--help")
    assert outcome.code == 0
    for command in COMMANDS:
        assert f" {command} " in outcome.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_lists_its_options(empty: Workspace, command: str) -> None:
    outcome = empty.run(command, "--help")
    assert outcome.code == 0
    assert outcome.stdout.strip().startswith(f"Usage: modelworks {command}")
    assert "--json" in outcome.stdout


def test_unknown_command_is_rejected(empty: Workspace) -> None:
    outcome = empty.run("rnu")
    assert outcome.code == 2
    assert "rnu" in outcome.stderr
    assert outcome.stdout == ""


def test_help_imports_no_large_library(empty: Workspace) -> None:
    profiled = empty.with_environment(PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in profiled.run("--help").stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint({"torch", "mlflow", "prefect", "great_expectations", "pandas", "numpy", "dvc"})
