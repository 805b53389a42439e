"""`doctor` and a project that was moved or copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from registry.health.two_versions import NAME

from modelworks.cli.doctor import databases, production
from modelworks.cli.doctor.finding import Finding
from modelworks.errors import Corrupt, Refused, Unavailable
from modelworks.project import Project
from modelworks.registry.backend.tracking_store import connect, ensure_experiment
from modelworks.registry.packaging import integrity
from modelworks.registry.tracking import tags
from modelworks.registry.verification import stored_files, verify_version
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.mark.parametrize("original", ["moved", "copied"])
@pytest.mark.usefixtures("two")
def test_moved_or_copied_project_works_after_doctor_rewrites_its_addresses(
    project: Project, tmp_path: Path, original: str
) -> None:
    there = tmp_path / "another place"
    if original == "moved":
        project.root.rename(there)
    else:
        shutil.copytree(project.root, there)
    other = Project(there)
    files = sorted(tmp_path.rglob("*"))
    for use in (lambda: connect(other), lambda: stored_files.check_quickly(other, NAME, 2)):
        with pytest.raises(Unavailable) as refused:
            use()
        assert refused.value.code == "project.moved"
        assert "modelworks doctor" in refused.value.hint

    finding = location(other)
    assert finding.state == "repairable"
    assert (project.mlflow / "artifacts").as_uri() in finding.detail
    assert finding.repair is not None
    finding.repair()
    assert location(other).state == "ok"

    client = connect(other)
    assert verify_version.package_folder(client, other, NAME, 2).is_relative_to(there)
    assert [each.state for each in production.examine(other)] == ["ok"]
    run = client.create_run(ensure_experiment(client, NAME))
    client.log_text(run.info.run_id, "text", "new.txt")
    new = [path for path in set(tmp_path.rglob("*")) - set(files) if path.name == "new.txt"]
    assert [path.is_relative_to(there) for path in new] == [True]
    # MLflow caches artifact URIs of runs that this process started, so read a run from the store.
    assert client.get_run(queries.get(client, NAME, 1).run_id).info.artifact_uri.startswith(there.as_uri())


def location(project: Project) -> Finding:
    return next(each for each in databases.examine(project) if each.what == "place of MLflow's artifacts")


def test_experiment_with_a_custom_artifact_location_is_not_changed(
    client: MlflowClient, project: Project, tmp_path: Path
) -> None:
    client.create_experiment("mine", artifact_location=(tmp_path / "mine").as_uri())
    assert location(project).state == "ok"
    connect(project)


def test_project_behind_a_symbolic_link_does_not_count_as_moved(
    project: Project, tmp_path: Path, register: Callable[..., Any]
) -> None:
    register()
    (tmp_path / "link").symlink_to(project.root)
    assert location(Project(tmp_path / "link")).state == "ok"
    assert verify_version.package_folder(
        connect(Project(tmp_path / "link")), Project(tmp_path / "link"), NAME, 1
    ).is_dir()


def test_doctor_ignores_versions_that_modelworks_did_not_register(client: MlflowClient, project: Project) -> None:
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source="/nowhere")
    client.set_registered_model_alias("theirs", "production", "1")
    assert list(production.examine(project)) == []
    with pytest.raises(Refused) as caught:
        stored_files.check_quickly(project, "theirs", 1)
    assert caught.value.code == "version.not-ours"


@pytest.mark.usefixtures("two")
def test_changed_listing_is_reported(client: MlflowClient, project: Project) -> None:
    client.set_model_version_tag(NAME, "2", tags.DIGEST, "0" * 64)
    with pytest.raises(Corrupt, match=integrity.FILES) as caught:
        stored_files.check_quickly(project, NAME, 2)
    assert caught.value.code == "package.damaged"
