"""A version is rebuilt by the module of its own commit."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest
from pipelines.commands import REPOSITORY

from modelworks.reproduce.worker_process import program_of


def test_current_code_has_the_rebuild_module() -> None:
    program = program_of(REPOSITORY)
    assert program == "modelworks.reproduce"
    assert importlib.util.find_spec(f"{program}.__main__") is not None


def test_older_code_has_the_rebuild_module_under_its_old_name(tmp_path: Path) -> None:
    old = subprocess.run(
        ["git", "-C", REPOSITORY, "rev-list", "-1", "HEAD", "--", "src/modelworks/rebuild/child.py"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    if not old:
        pytest.skip("this copy of the code has no history")
    archive = tmp_path / "code.tar"
    subprocess.run(["git", "-C", REPOSITORY, "archive", "-o", archive, f"{old}^", "src"], check=True)
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    program = program_of(tmp_path)
    assert program == "modelworks.rebuild"
    assert (tmp_path / "src" / Path(*program.split(".")) / "__main__.py").is_file()
