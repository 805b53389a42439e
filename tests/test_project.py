"""A project is found from the environment or the current folder, and its files are below its root."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelworks.errors import BadInput
from modelworks.project import Project
from modelworks.settings import QUIET


def test_nearest_folder_with_configs_is_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "deep" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "below")
    assert Project.find({}).root == tmp_path


def test_project_variable_overrides_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "named"
    for folder in (tmp_path, named):
        (folder / "configs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert Project.find({"MODELWORKS_PROJECT": str(named)}).root == named


def test_missing_project_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        Project.find({"MODELWORKS_PROJECT": str(tmp_path)})
    assert caught.value.code == "project.not-found"


def test_addresses_in_the_environment_replace_the_embedded_services(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    embedded = Project.find({"MODELWORKS_PROJECT": str(tmp_path)})
    assert embedded.tracking_uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    team = Project.find(
        {
            "MODELWORKS_PROJECT": str(tmp_path),
            "MLFLOW_TRACKING_URI": "http://tracking.example:5000",
            "PREFECT_API_URL": "http://flows.example:4200/api",
            "MODELWORKS_LOCK_URL": "postgresql://team:secret@db.example/mlflow",
        }
    )
    assert team.tracking_uri == "http://tracking.example:5000"
    assert team.prefect_url == "http://flows.example:4200/api"
    assert team.lock_url == "postgresql://team:secret@db.example/mlflow"
    assert "secret" not in repr(team)


def test_environment_of_children_has_quiet_settings_and_the_project(tmp_path: Path) -> None:
    environment = Project(tmp_path).environment()
    assert environment.items() >= QUIET.items()
    assert environment["MODELWORKS_PROJECT"] == str(tmp_path)
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_state_folder_is_private_and_can_be_created_twice(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.make_private_folders()
    project.make_private_folders()
    assert project.state.stat().st_mode & 0o777 == 0o700
    assert project.stages.is_dir()
    assert project.locks.is_dir()


def test_file_in_place_of_the_state_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".modelworks").write_text("")
    with pytest.raises(BadInput, match=r"\.modelworks") as caught:
        Project(tmp_path).make_private_folders()
    assert caught.value.code == "disk.not-writable"


def test_measured_rates_are_shared_by_the_projects_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shared, own = Project(tmp_path).product_rates
    assert shared == tmp_path / "home" / ".cache" / "modelworks" / "product-rates"
    assert own == tmp_path / ".modelworks" / "product-rates"
