"""What is wrong with production is found by the doctor, and by a run with nothing to do; its hints work as printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelworks.cli.doctor import databases, production
from modelworks.cli.doctor.finding import Finding
from modelworks.errors import BadInput, Corrupt, Refused, Unavailable
from modelworks.project import Project
from modelworks.registry.backend.tracking_store import connect, ensure_experiment
from modelworks.registry.packaging import integrity
from modelworks.registry.production import alias_drift
from modelworks.registry.production import promotion as moves
from modelworks.registry.tracking import tags
from modelworks.registry.verification import stored_files, verify_version
from modelworks.registry.versions import deletions, queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.production.audit_log import Move

NAME = "small"
Promote = Callable[[int], "Move | None"]


@pytest.fixture
def promote(client: MlflowClient, project: Project) -> Promote:
    """Move production; that the model answers as it did is tried elsewhere."""

    def call(version: int) -> Move | None:
        return moves.promote(
            client,
            project,
            NAME,
            version,
            expected=None,
            reason="a test",
            who="a test",
            evidence={},
            proof=lambda *_: {},
        )

    return call


@pytest.fixture
def two(register: Callable[..., Any], promote: Promote) -> None:
    """Two accepted versions; the second is production."""
    for seed in (0, 1):
        promote(register(seed).version)


def ill(project: Project) -> list[str]:
    return [f"{each.what}: {each.detail}" for each in production.examine(project) if each.state == "ill"]


def stored_at(client: MlflowClient, version: int) -> Path:
    return Path(str(client.get_model_version(NAME, str(version)).source).removeprefix("file://"))


def follow(hint: str, folder: Path) -> None:
    """Run a printed command as a person in any folder would, the environment activated."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    folder.mkdir()
    subprocess.run(["bash", "-c", hint], cwd=folder, env=environment, capture_output=True, check=True)
    assert list(folder.iterdir()) == [], "it made a store of its own"


@pytest.mark.usefixtures("two")
def test_a_production_version_that_is_intact_is_well(client: MlflowClient, project: Project) -> None:
    (stored_at(client, 2) / integrity.LOAD_NOTE).write_text("model_name: small\nmodel_version: 2\n")
    assert [(each.what, each.state) for each in production.examine(project)] == [("production of small", "well")]
    stored_files.check_quickly(project, NAME, 2)
    assert not (project.state / "versions").exists(), "looking keeps nothing"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("name", ["MLmodel", "artifacts/model/model.safetensors"])
def test_a_damaged_or_lost_file_of_production_is_found_and_the_other_version_named(
    client: MlflowClient, project: Project, promote: Promote, name: str
) -> None:
    path = stored_at(client, 2) / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")  # of the same size: only a full look finds it
    stored_files.check_quickly(project, NAME, 2)
    (found,) = ill(project)
    assert f"{name} was changed" in found
    assert "modelworks promote small 1 --reason TEXT" in found

    path.unlink()
    with pytest.raises(Corrupt, match=f"{name} is missing"):
        stored_files.check_quickly(project, NAME, 2)
    (found,) = ill(project)
    assert f"{name} is missing" in found
    promote(1)
    assert ill(project) == []
    stored_files.check_quickly(project, NAME, 1)


@pytest.mark.usefixtures("two")
def test_a_planted_file_is_found_by_a_run_with_nothing_to_do(client: MlflowClient, project: Project) -> None:
    planted = stored_at(client, 2) / "artifacts" / "model" / integrity.LOAD_NOTE
    planted.write_text("model_name: small\nmodel_version: 2\n")
    with pytest.raises(Corrupt, match="was never part of it"):
        stored_files.check_quickly(project, NAME, 2)
    planted.unlink()
    shutil.rmtree(stored_at(client, 2))
    with pytest.raises(Corrupt, match="does not exist"):
        stored_files.check_quickly(project, NAME, 2)


@pytest.mark.usefixtures("two")
def test_production_whose_run_mlflow_gc_took_away_is_found(client: MlflowClient, project: Project) -> None:
    run = queries.get(client, NAME, 2).run_id
    client.delete_run(run)
    (found,) = ill(project)
    assert f"mlflow runs restore --run-id {run}" in found
    command = ["gc", "--backend-store-uri", project.tracking_uri]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": project.tracking_uri}
    subprocess.run([sys.executable, "-m", "mlflow", *command], env=environment, capture_output=True, check=True)
    with pytest.raises(Corrupt, match="is gone from the tracking store"):
        stored_files.check_quickly(project, NAME, 2)
    (found,) = ill(project)
    assert "cannot be fetched" in found
    assert "modelworks promote small 1 --reason TEXT" in found


@pytest.mark.usefixtures("two")
def test_a_deleted_run_and_experiment_are_found_and_restored_by_the_printed_commands(
    client: MlflowClient, project: Project, tmp_path: Path
) -> None:
    run = queries.get(client, NAME, 2).run_id
    client.delete_run(run)
    missing = deletions.deleted_run(client, queries.get(client, NAME, 2))
    assert missing is not None
    follow(missing.way_out, tmp_path / "run")
    assert deletions.deleted_run(client, queries.get(client, NAME, 2)) is None

    for name in (NAME, "small/production"):
        client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
        with pytest.raises(BadInput, match="was deleted") as refused:
            ensure_experiment(client, name)
        (found,) = [each for each in ill(project) if each.startswith(f"experiment {name}: ")]
        assert found.endswith(refused.value.hint)
    follow(refused.value.hint, tmp_path / "experiment")
    ensure_experiment(client, name)


@pytest.mark.usefixtures("two")
def test_a_production_version_that_was_deleted_is_not_offered_again(
    client: MlflowClient, project: Project, promote: Promote
) -> None:
    client.delete_model_version(NAME, "2")
    (stray,) = alias_drift.moved_behind_our_back(client)
    assert stray.way_out == "version 2 was deleted; promote one: modelworks promote small 1 --reason TEXT"
    with pytest.raises(Refused) as refused:
        moves.rollback(client, project, NAME, reason="", who="a test")
    assert refused.value.hint == "promote one: modelworks promote small 1 --reason TEXT"
    assert promote(1) is not None
    assert alias_drift.moved_behind_our_back(client) == []
    with pytest.raises(Refused, match="version 1 is the first production version"):
        moves.rollback(client, project, NAME, reason="", who="a test")


def test_a_rollback_leaves_out_a_version_that_was_deleted(
    client: MlflowClient, project: Project, register: Callable[..., Any], promote: Promote
) -> None:
    for seed in range(3):
        promote(register(seed).version)
    client.delete_model_version(NAME, "2")
    moves.rollback(client, project, NAME, reason="", who="a test", proof=lambda *_: {})
    assert queries.production(client, NAME) == 1


@pytest.mark.usefixtures("two")
def test_a_model_that_was_renamed_is_found_and_its_new_name_quoted(client: MlflowClient, project: Project) -> None:
    client.rename_registered_model(NAME, "Our Digits (v2)")
    (found,) = ill(project)
    assert found.startswith("production of small: the journal left it on version 2, and no model small is registered")
    (stray,) = alias_drift.moved_behind_our_back(client)
    assert "modelworks promote 'Our Digits (v2)' 2 --reason TEXT keeps it" in stray.way_out


@pytest.mark.parametrize("original", ["moved", "copied"])
@pytest.mark.usefixtures("two")
def test_a_project_that_was_moved_or_copied_is_refused_until_the_doctor_has_rewritten_its_addresses(
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
        with pytest.raises(Unavailable, match="the project was moved or copied") as refused:
            use()
        assert "modelworks doctor" in refused.value.hint

    finding = place(other)
    assert finding.state == "sick"
    assert str(project.mlflow / "artifacts") in finding.detail
    assert finding.remedy is not None
    finding.remedy()
    assert place(other).state == "well"

    client = connect(other)
    assert verify_version.package_folder(client, other, NAME, 2).is_relative_to(there)
    assert [each.state for each in production.examine(other)] == ["well"]
    run = client.create_run(ensure_experiment(client, NAME))
    client.log_text(run.info.run_id, "text", "new.txt")
    new = [path for path in set(tmp_path.rglob("*")) - set(files) if path.name == "new.txt"]
    assert [path.is_relative_to(there) for path in new] == [True]
    # This process has MLflow's own memory of where the runs it began are: what the store says counts for any other.
    assert client.get_run(queries.get(client, NAME, 1).run_id).info.artifact_uri.startswith(there.as_uri())


def place(project: Project) -> Finding:
    return next(each for each in databases.examine(project) if each.what == "place of MLflow's artifacts")


def test_an_experiment_that_a_person_gave_another_place_is_left_alone(
    client: MlflowClient, project: Project, tmp_path: Path
) -> None:
    client.create_experiment("mine", artifact_location=(tmp_path / "mine").as_uri())
    assert place(project).state == "well"
    connect(project)


def test_a_project_reached_by_a_link_is_not_a_moved_one(
    project: Project, tmp_path: Path, register: Callable[..., Any]
) -> None:
    register()
    (tmp_path / "link").symlink_to(project.root)
    assert place(Project(tmp_path / "link")).state == "well"
    assert verify_version.package_folder(
        connect(Project(tmp_path / "link")), Project(tmp_path / "link"), NAME, 1
    ).is_dir()


def test_versions_that_modelworks_did_not_register_are_none_of_the_doctors(
    client: MlflowClient, project: Project
) -> None:
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source="/nowhere")
    client.set_registered_model_alias("theirs", "production", "1")
    assert list(production.examine(project)) == []
    with pytest.raises(Refused, match="not registered by modelworks"):
        stored_files.check_quickly(project, "theirs", 1)


@pytest.mark.usefixtures("two")
def test_a_listing_that_was_changed_is_found(client: MlflowClient, project: Project) -> None:
    client.set_model_version_tag(NAME, "2", tags.DIGEST, "0" * 64)
    with pytest.raises(Corrupt, match="is not the one the version was registered with"):
        stored_files.check_quickly(project, NAME, 2)
