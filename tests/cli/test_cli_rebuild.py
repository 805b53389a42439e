"""`rebuild` trains a version again from its record with the code of its commit, and names every difference."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pipelines.clones import commit, git, make_clone, other_version, running_from

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

pytestmark = pytest.mark.slow

DIGITS = "configs/digits_cnn.yaml"
EDITED = "src/modelworks/models/transformer.py"

TEXTS = """
name: texts
source: {kind: table, path: texts.csv, text: words, label: opinion}
model: {kind: transformer, vocabulary: 400, max_tokens: 12, width: 16, layers: 1, heads: 2}
train: {epochs: 4, batch_size: 16, learning_rate: 0.01}
compute: {threads: 1}
evaluate: {resamples: 200}
gate: {minimums: {accuracy: 0.3}, compare: accuracy}
"""


def write_texts(path: Path) -> None:
    draw = random.Random(0)
    words = {"good": ("lovely", "brilliant", "fine"), "bad": ("awful", "horrid", "poor")}
    rows = [(opinion, draw.choice(words[opinion]), number) for number in range(150) for opinion in words]
    path.write_text("words,opinion\n" + "".join(f"a {word} thing no {number},{name}\n" for name, word, number in rows))


@pytest.fixture(scope="session")
def trained(shared_project: Callable[..., Path], server_url: str) -> Path:
    """Return a clone where digits were trained by a commit, and texts by uncommitted changes that are gone."""

    def make(workspace: Workspace) -> Any:
        root = workspace.root
        make_clone(root)
        config = root / DIGITS
        config.write_text(config.read_text().replace("threads: 2", "threads: 1"))  # tests share the machine
        commit(root, "One thread")
        in_clone = replace(workspace, environment=running_from(root, workspace.environment))
        in_clone = in_clone.with_environment(PREFECT_API_URL=server_url)
        first = in_clone.done("run", DIGITS, "--set", "train.epochs=3", "--set", "gate.minimums.accuracy=0.3")
        model = root / EDITED
        before = model.read_text()
        model.write_text(before.replace("std=0.02", "std=0.05"))  # other weights from the first step on
        assert model.read_text() != before
        write_texts(root / "texts.csv")
        in_clone.write_config("texts", TEXTS)
        second = in_clone.done("run", "configs/texts.yaml")
        git(root, "checkout", "--quiet", EDITED)
        return {"digits": first, "texts": second}

    return shared_project("trained", make)


@pytest.fixture
def clone(copy: Callable[[Path], Workspace], trained: Path) -> Workspace:
    workspace = copy(trained)
    return replace(workspace, environment=running_from(workspace.root, workspace.environment))


def state(workspace: Workspace) -> dict[str, Any]:
    """Return everything that a rebuild must not change."""
    root = workspace.root
    return {
        "versions": workspace.registered(),
        "runs": [run.info.run_id for name in ("digits-cnn", "texts") for run in workspace.runs(name)],
        "data": {path: path.stat().st_mtime_ns for path in (root / "data").rglob("*")},
        "pin": (root / "data.dvc").read_text(),
        "stages": sorted((root / ".modelworks" / "stages").glob("*/*")),
        "git": (git(root, "status", "--porcelain"), git(root, "worktree", "list").splitlines()[1:]),
    }


def test_cnn_trained_by_a_commit_is_rebuilt_identically(clone: Workspace) -> None:
    before = state(clone)
    found = clone.done("rebuild", "digits-cnn")
    assert found["identical"] is True
    assert (found["model"], found["version"]) == ("digits-cnn", 1)
    assert found["commit"] == git(clone.root, "rev-parse", "HEAD")
    assert found["changes"] is False
    assert found["tensors"]["compared"] >= 6
    assert found["predictions"]["compared"] > 300
    assert found["tensors"]["different"] == found["files"] == found["causes"] == []
    assert state(clone) == before
    assert not list((clone.root / ".modelworks").glob("rebuild-*"))


def test_transformer_trained_by_uncommitted_code_is_rebuilt_identically(clone: Workspace) -> None:
    # Neither the code of later commits nor the current data/ is used.
    (clone.root / EDITED).write_text("raise SystemExit('not this one')\n")
    commit(clone.root, "Broken since")
    (clone.root / "data" / "texts" / "examples.parquet").unlink()

    outcome = clone.run("rebuild", "texts/1")

    assert outcome.code == 0, outcome.stderr
    assert "texts version 1, rebuilt: identical" in outcome.stdout
    assert "with uncommitted changes" in outcome.stdout
    assert "train" in outcome.stderr  # it shows its progress
    assert not (clone.root / "data" / "texts" / "examples.parquet").exists()


def test_other_library_version_is_named_with_the_differences_it_caused(clone: Workspace, tmp_path: Path) -> None:
    """Use a release of safetensors that changes one value of one tensor."""
    fault = (
        "\n_save = save_file\n\ndef save_file(tensors, *others, **named):\n    name = sorted(tensors)[0]\n"
        "    off = tensors[name].clone()\n    off.view(-1)[0] += 0.25\n"
        "    return _save({**tensors, name: off}, *others, **named)\n"
    )
    beside = other_version(tmp_path / "beside", "safetensors", "99.0", fault, "torch.py")
    changed = replace(clone, environment=running_from(clone.root, clone.environment, beside))

    refused = changed.run("rebuild", "digits-cnn", "--strict")
    assert (refused.code, refused.error_code) == (3, "rebuild.other-libraries")
    assert "safetensors" in refused.complaint[0]
    assert "validate" not in refused.stderr  # before any stage

    outcome = changed.run("rebuild", "digits-cnn", "--json")
    assert (outcome.code, outcome.error_code) == (3, "rebuild.different")
    found = outcome.object
    assert [(each["kind"], each["name"], each["now"]) for each in found["causes"]] == [
        ("libraries", "safetensors", "99.0")
    ]
    (tensor,) = found["tensors"]["different"]
    assert (tensor["changed"], tensor["largest"]) == (1, pytest.approx(0.25))
    assert found["predictions"]["different"] > 0
    assert "safetensors" in outcome.complaint[0]


def test_one_changed_byte_of_the_data_is_found_before_training(clone: Workspace) -> None:
    objects = [
        path
        for folder in (".dvc/cache/files/md5", ".modelworks/dvc-remote/files/md5")
        for path in (clone.root / folder).rglob("*")
        if path.is_file() and path.read_bytes()[:4] == b"PAR1"
    ]
    assert len(objects) >= 4
    for path in objects:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
    outcome = clone.run("rebuild", "digits-cnn")
    assert outcome.code == 5
    assert outcome.complaint[0].startswith("error: data: ")
    assert "train" not in outcome.stderr


def test_missing_data_and_missing_commit_are_reported(clone: Workspace) -> None:
    no_data = clone.root / ".dvc" / "cache"
    no_data.rename(clone.root / "cache-away")
    (clone.root / ".modelworks" / "dvc-remote").rename(clone.root / "remote-away")
    outcome = clone.run("rebuild", "digits-cnn@production")
    assert (outcome.code, outcome.error_code) == (4, "dvc.remote-missing")

    (clone.root / ".git").rename(clone.root / "git-away")
    make_unrelated_repository(clone.root)
    outcome = clone.run("rebuild", "digits-cnn")
    assert (outcome.code, outcome.error_code) == (4, "rebuild.commit-missing")


def make_unrelated_repository(root: Path) -> None:
    """Create a new repository with the same files and without the old commits."""
    git(root, "init", "--quiet")
    commit(root, "First commit")


def test_edited_record_is_rejected(clone: Workspace) -> None:
    (path,) = (path for path in (clone.root / "mlflow").rglob("record.json") if "digits-cnn" in path.read_text())
    record = json.loads(path.read_text())
    record["making"]["seed"] = 1
    path.write_text(json.dumps(record))
    outcome = clone.run("rebuild", "digits-cnn")
    assert (outcome.code, outcome.error_code) == (5, "version.record-damaged")


def test_unknown_version_is_rejected(clone: Workspace) -> None:
    outcome = clone.run("rebuild", "digits-cnn/7")
    assert (outcome.code, outcome.error_code) == (2, "version.unknown")
