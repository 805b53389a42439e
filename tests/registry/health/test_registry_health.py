"""`doctor` and the quick check find problems with production; the printed hints work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from registry.health.two_versions import NAME, Promote
from samples.artifacts import local_path

from modelworks.cli.doctor import production
from modelworks.errors import BadInput, Corrupt, Refused
from modelworks.project import Project
from modelworks.registry.backend.mlflow_internals import LOAD_NOTE
from modelworks.registry.backend.tracking_store import ensure_experiment
from modelworks.registry.production import alias_drift
from modelworks.registry.production import promotion as moves
from modelworks.registry.verification import stored_files
from modelworks.registry.versions import deletions, queries

if TYPE_CHECKING:
    from mlflow import MlflowClient


def failing(project: Project) -> list[str]:
    return [f"{each.what}: {each.detail}" for each in production.examine(project) if each.state == "failing"]


def stored_at(client: MlflowClient, version: int) -> Path:
    return local_path(client.get_model_version(NAME, str(version)).source)


def follow(hint: str, folder: Path) -> None:
    """Run a printed command in a new folder, with the virtual environment on the path."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    folder.mkdir()
    subprocess.run(["bash", "-c", hint], cwd=folder, env=environment, capture_output=True, check=True)
    assert list(folder.iterdir()) == [], "the command created a store"


@pytest.mark.usefixtures("two")
def test_intact_production_version_is_well(client: MlflowClient, project: Project) -> None:
    (stored_at(client, 2) / LOAD_NOTE).write_text("model_name: small\nmodel_version: 2\n")
    assert [(each.what, each.state) for each in production.examine(project)] == [("production of small", "ok")]
    stored_files.check_quickly(project, NAME, 2)
    assert not (project.state / "versions").exists(), "examine must not keep a copy"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("name", ["MLmodel", "artifacts/model/model.safetensors"])
def test_damaged_or_missing_file_of_production_is_reported_with_another_version(
    client: MlflowClient, project: Project, promote: Promote, name: str
) -> None:
    path = stored_at(client, 2) / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")  # same size: only the full check finds it
    stored_files.check_quickly(project, NAME, 2)
    (found,) = failing(project)
    assert f"{name} was changed" in found
    assert "modelworks promote small 1 --reason TEXT" in found

    path.unlink()
    with pytest.raises(Corrupt, match=name) as caught:
        stored_files.check_quickly(project, NAME, 2)
    assert caught.value.code == "package.damaged"
    (found,) = failing(project)
    assert f"{name} is missing" in found
    promote(1)
    assert failing(project) == []
    stored_files.check_quickly(project, NAME, 1)


@pytest.mark.usefixtures("two")
def test_quick_check_finds_added_files_and_a_missing_package(client: MlflowClient, project: Project) -> None:
    planted = stored_at(client, 2) / "artifacts" / "model" / LOAD_NOTE
    planted.write_text("model_name: small\nmodel_version: 2\n")
    with pytest.raises(Corrupt, match=LOAD_NOTE) as caught:
        stored_files.check_quickly(project, NAME, 2)
    assert caught.value.code == "package.damaged"
    planted.unlink()
    shutil.rmtree(stored_at(client, 2))
    with pytest.raises(Corrupt) as caught:
        stored_files.check_quickly(project, NAME, 2)
    assert caught.value.code == "package.damaged"


@pytest.mark.slow
@pytest.mark.usefixtures("two")
def test_production_without_its_run_after_mlflow_gc_is_reported(client: MlflowClient, project: Project) -> None:
    run = queries.get(client, NAME, 2).run_id
    client.delete_run(run)
    (found,) = failing(project)
    assert f"mlflow runs restore --run-id {run}" in found
    command = ["gc", "--backend-store-uri", project.tracking_uri]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": project.tracking_uri}
    subprocess.run([sys.executable, "-m", "mlflow", *command], env=environment, capture_output=True, check=True)
    with pytest.raises(Corrupt) as caught:
        stored_files.check_quickly(project, NAME, 2)
    assert caught.value.code == "version.run-deleted"
    (found,) = failing(project)
    assert "cannot be fetched" in found
    assert "modelworks promote small 1 --reason TEXT" in found


@pytest.mark.slow
@pytest.mark.usefixtures("two")
def test_deleted_run_and_experiment_are_restored_by_the_printed_commands(
    client: MlflowClient, project: Project, tmp_path: Path
) -> None:
    run = queries.get(client, NAME, 2).run_id
    client.delete_run(run)
    missing = deletions.deleted_run(client, queries.get(client, NAME, 2))
    assert missing is not None
    follow(missing.hint, tmp_path / "run")
    assert deletions.deleted_run(client, queries.get(client, NAME, 2)) is None

    for name in (NAME, "small/production"):
        client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
        with pytest.raises(BadInput) as refused:
            ensure_experiment(client, name)
        assert refused.value.code == "mlflow.experiment-deleted"
        (found,) = [each for each in failing(project) if each.startswith(f"experiment {name}: ")]
        assert found.endswith(refused.value.hint)
    follow(refused.value.hint, tmp_path / "experiment")
    ensure_experiment(client, name)


@pytest.mark.usefixtures("two")
def test_hints_do_not_name_a_deleted_version(client: MlflowClient, project: Project, promote: Promote) -> None:
    client.delete_model_version(NAME, "2")
    (drift,) = alias_drift.all_alias_drift(client)
    assert drift.hint == "version 2 was deleted; promote one: modelworks promote small 1 --reason TEXT"
    with pytest.raises(Refused) as refused:
        moves.rollback(client, project, NAME, reason="", who="a test")
    assert refused.value.hint == "promote one: modelworks promote small 1 --reason TEXT"
    assert promote(1) is not None
    assert alias_drift.all_alias_drift(client) == []
    with pytest.raises(Refused) as refused:
        moves.rollback(client, project, NAME, reason="", who="a test")
    assert refused.value.code == "production.nothing-before"


def test_rollback_skips_a_deleted_version(
    client: MlflowClient, project: Project, register: Callable[..., Any], promote: Promote
) -> None:
    for seed in range(3):
        promote(register(seed).version)
    client.delete_model_version(NAME, "2")
    moves.rollback(client, project, NAME, reason="", who="a test", proof=lambda *_: {})
    assert queries.production(client, NAME) == 1


@pytest.mark.usefixtures("two")
def test_renamed_model_is_reported_with_its_quoted_name(client: MlflowClient, project: Project) -> None:
    client.rename_registered_model(NAME, "Our Digits (v2)")
    (found,) = failing(project)
    assert found.startswith("production of small: ")
    assert "version 2" in found
    (drift,) = alias_drift.all_alias_drift(client)
    assert "modelworks promote 'Our Digits (v2)' 2 --reason TEXT keeps it" in drift.hint
