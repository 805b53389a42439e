"""A change reruns the stages that depend on it and no others; `why` predicts them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelworks.pipeline.plan import STAGES
from modelworks.pipeline.reports import REPORTS

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"
FROM_TRAIN = {"ingest": "verified", "validate": "cached", **dict.fromkeys(STAGES[2:], "ran")}


@pytest.fixture(scope="session")
def second(two_versions: Path) -> dict[str, Any]:
    """Return the results of `why` and `run` after a change of the number of epochs."""
    return json.loads(two_versions.with_name("made.json").read_text())


def test_why_reports_every_stage_up_to_date_if_nothing_changed(after_digits: Workspace) -> None:
    assert after_digits.done("why", DIGITS) == {
        "nothing_to_do": True,
        "stages": {stage: [] for stage in STAGES},
        "reports": {page: [] for page in REPORTS},
    }
    assert "every stage is up to date" in after_digits.run("why", DIGITS).stdout


def test_why_in_an_empty_project_reports_every_stage_and_writes_nothing(
    copy: Callable[[Path], Workspace], bare: Path
) -> None:
    workspace = copy(bare)
    before = sorted(workspace.root.rglob("*"))
    answer = workspace.done("why", DIGITS)
    assert not answer["nothing_to_do"]
    assert answer["stages"]["ingest"] == ["data/digits does not exist"]
    assert all(answer["stages"][stage] for stage in STAGES)
    assert sorted(workspace.root.rglob("*")) == before


def test_changed_epochs_rerun_training_and_the_stages_after_it(second: dict[str, Any]) -> None:
    assert second["summary"]["stages"] == FROM_TRAIN
    assert second["summary"]["version"] == 2
    reasons = second["why"]["stages"]
    assert reasons["ingest"] == reasons["validate"] == []
    assert reasons["train"] == ["train.epochs: 6 -> 5"]
    assert reasons["score"] == reasons["promote"] == ["depends on the result of train"]


def test_earlier_config_needs_no_training(copy: Callable[[Path], Workspace], two_versions: Path) -> None:
    reasons = copy(two_versions).done("why", DIGITS)["stages"]
    assert all(reasons[stage] == [] for stage in ("ingest", "validate", "train", "score", "register"))


def test_edited_readme_changes_nothing(after_digits: Workspace) -> None:
    (after_digits.root / "README.md").write_text("Edited.\n")
    assert after_digits.done("why", DIGITS)["nothing_to_do"]


def test_comment_in_the_code_changes_nothing(own_code: tuple[Workspace, Path]) -> None:
    workspace, code = own_code
    for path in code.rglob("*.py"):
        path.write_text(path.read_text() + "\n# A remark.\n")
    assert workspace.done("why", DIGITS)["nothing_to_do"]


@pytest.mark.slow
def test_edit_of_an_indirect_import_of_the_trainer_reruns_training(own_code: tuple[Workspace, Path]) -> None:
    workspace, code = own_code
    helper = code / "training" / "optimization" / "lr_schedule.py"  # imported by the loop, not by the program
    assert "lr_schedule" not in (code / "training" / "__main__.py").read_text()
    helper.write_text(helper.read_text().replace("cos(math.pi * share)", "cos(math.pi * share * share)"))

    reasons = workspace.done("why", DIGITS)["stages"]
    assert reasons["train"] == ["source of modelworks.training.optimization.lr_schedule changed"]
    assert reasons["validate"] == []

    summary = workspace.run("run", DIGITS, "--json").object
    assert summary["stages"] == FROM_TRAIN
    assert summary["version"] == 2
    assert workspace.done("why", DIGITS)["nothing_to_do"]


@pytest.mark.slow
def test_damaged_and_deleted_outputs_are_made_again_without_a_new_version(after_digits: Workspace) -> None:
    weights = after_digits.stage_folder("train") / "model" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    shutil.rmtree(after_digits.stage_folder("score"))

    reasons = after_digits.done("why", DIGITS)["stages"]
    assert reasons["train"] == ["its stored output is damaged"]
    assert reasons["validate"] == []
    assert {*map(tuple, list(reasons.values())[3:])} == {("depends on the result of train",)}

    summary = after_digits.done("run", DIGITS)
    rerun = ("train", "score")
    assert {stage: summary["stages"][stage] for stage in rerun} == dict.fromkeys(rerun, "ran")
    assert {summary["stages"][stage] for stage in ("validate", "register", "gate", "promote")} == {"cached"}
    assert after_digits.registered() == {"digits-cnn": [1]}
    assert after_digits.done("why", DIGITS)["nothing_to_do"]


def test_lost_data_is_restored_from_the_remote_and_nothing_else_runs(after_digits: Workspace) -> None:
    shutil.rmtree(after_digits.root / "data")
    shutil.rmtree(after_digits.root / ".dvc" / "cache")
    assert after_digits.done("why", DIGITS)["stages"]["ingest"] == ["data/digits does not exist"]
    summary = after_digits.done("run", DIGITS)
    assert summary["stages"] == {"ingest": "ran", **dict.fromkeys(STAGES[1:], "cached")}
    assert after_digits.registered() == {"digits-cnn": [1]}
