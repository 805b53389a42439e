"""A flipped bit in any stored file is found, named, and never used.

`make bit-flips` does a thousand.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from samples.artifacts import local_path
from security.bit_flips import flip_bits, kinds, table

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

FLIPS = 6
"""Number of flips per kind of file."""


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_every_flipped_bit_is_found(copy: Callable[[Path], Workspace], digits: Path, tmp_path: Path) -> None:
    workspace = copy(digits)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    chosen = kinds(workspace.project, workspace.client, scratch)
    draw = random.Random(20261122)
    results = [flip_bits(kind, FLIPS, draw) for kind in chosen]
    assert not [miss for each in results for miss in each.missed], table(results)
    assert len(results) >= 12


def test_intact_files_cause_no_message(copy: Callable[[Path], Workspace], digits: Path, tmp_path: Path) -> None:
    workspace = copy(digits)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for kind in kinds(workspace.project, workspace.client, scratch):
        if kind.names != "the step":  # its function requires a damaged checkpoint
            assert kind.read(kind.files[0]) == "", kind.name


@pytest.mark.parametrize(
    ("name", "command"),
    [
        pytest.param("serving.py", ("promote", "digits-cnn", "1"), marks=pytest.mark.slow),
        ("model.safetensors", ("serve", "digits-cnn/1", "--port", "0")),
    ],
)
def test_command_exits_with_5_and_names_the_damaged_file(
    copy: Callable[[Path], Workspace], two_versions: Path, name: str, command: tuple[str, ...]
) -> None:
    workspace = copy(two_versions)
    shutil.rmtree(workspace.project.state / "versions", ignore_errors=True)  # intact copies would be used instead
    stored = local_path(workspace.client.get_model_version("digits-cnn", "1").source)
    _flip(next(stored.rglob(name)))
    outcome = workspace.run(*command)
    assert outcome.code == 5
    assert name in outcome.complaint[0]
    assert workspace.production("digits-cnn") == 2


@pytest.mark.slow
def test_run_makes_damaged_outputs_again_and_reports_them(after_digits: Workspace) -> None:
    stage = after_digits.stage_folder("score")
    before = (stage / "predictions.parquet").read_bytes()
    _flip(stage / "predictions.parquet")
    outcome = after_digits.run("run", "configs/digits_cnn.yaml")
    assert outcome.code == 0
    assert "the stored output is damaged (predictions.parquet " in outcome.stderr + outcome.stdout
    assert (stage / "predictions.parquet").read_bytes() == before


@pytest.mark.slow
def test_damaged_data_is_restored_or_reported(after_digits: Workspace) -> None:
    data = after_digits.root / "data" / "digits" / "examples.parquet"
    before = data.read_bytes()
    _flip(data)
    assert after_digits.done("run", "configs/digits_cnn.yaml")["stages"]["ingest"] == "ran"
    assert data.read_bytes() == before

    for folder in (after_digits.root / ".dvc" / "cache", after_digits.root / ".modelworks" / "dvc-remote"):
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_size == len(before):
                path.chmod(0o644)
                _flip(path)
                damaged = path
    data.unlink()
    outcome = after_digits.run("run", "configs/digits_cnn.yaml")
    assert outcome.code == 5
    assert str(damaged.name) in outcome.complaint[0]
