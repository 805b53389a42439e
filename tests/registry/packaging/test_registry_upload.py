from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from samples.artifacts import local_path

from modelworks.errors import Corrupt
from modelworks.files.digest import json_digest
from modelworks.records import Evaluation
from modelworks.registry.packaging import build, integrity, upload
from modelworks.registry.verification import golden_predictions

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def logged(
    client: MlflowClient, begin: Callable[[], str], evaluate: Callable[..., Evaluation]
) -> tuple[str, Path, upload.Package]:
    """Run id, folder in the artifact store and record of a package."""
    run_id = begin()
    stored = upload.log(client, run_id, evaluate())
    return run_id, local_path(stored.source), stored


def test_package_has_no_pickle_and_no_local_path(logged: tuple[str, Path, upload.Package], project: object) -> None:
    _, folder, _ = logged
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "serving.py", "requirements.txt", "artifacts/model/model.safetensors"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pt", ".bin", ".joblib", ".pyc"))]
    described = (folder / "MLmodel").read_text()
    assert os.fspath(folder.anchor + "tmp") not in described
    assert "model_code_path: serving.py" in described


def test_distributions_are_those_that_python_finds() -> None:
    modules = {"PIL", "numpy", "sklearn", "torch", "yaml"}
    found = importlib.metadata.packages_distributions()
    assert build.distributions_of({*modules, "not_installed"}) == {found[module][0] for module in modules}


def test_files_of_distributions_are_not_listed_for_a_models_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(importlib.metadata, "packages_distributions")
    found = build.distributions_of({"PIL", "numpy", "safetensors", "tokenizers", "torch", "transformers"})
    assert found == {"numpy", "pillow", "safetensors", "tokenizers", "torch", "transformers"}


def test_requirements_are_pinned(logged: tuple[str, Path, upload.Package]) -> None:
    pins = (logged[1] / "requirements.txt").read_text().split()
    assert all("==" in pin and "+" not in pin for pin in pins)
    assert {pin.partition("==")[0] for pin in pins} == {
        "mlflow",
        "numpy",
        "pandas",
        "pillow",
        "safetensors",
        "scipy",
        "torch",
    }


def test_listing_and_digest_match_the_stored_package(
    client: MlflowClient, logged: tuple[str, Path, upload.Package]
) -> None:
    run_id, folder, stored = logged
    listing = integrity.read_listing(Path(client.download_artifacts(run_id, f"{integrity.EVIDENCE}/{integrity.FILES}")))
    assert json_digest(listing) == stored.digest
    integrity.verify(folder, stored.digest, listing)


def test_logged_model_is_ready_with_metrics_and_dataset(
    client: MlflowClient, logged: tuple[str, Path, upload.Package]
) -> None:
    run_id, _, stored = logged
    model = client.get_logged_model(stored.model_id)
    assert model.status == "READY"
    assert [(metric.key, metric.value, metric.dataset_name) for metric in model.metrics] == [
        ("accuracy", 0.91, "image")
    ]
    assert [output.model_id for output in client.get_run(run_id).outputs.model_outputs] == [stored.model_id]


def test_golden_predictions_have_rows_and_predictions(
    client: MlflowClient, logged: tuple[str, Path, upload.Package]
) -> None:
    rows = pq.read_table(
        client.download_artifacts(logged[0], f"{integrity.EVIDENCE}/{golden_predictions.FILE}")
    ).to_pylist()
    assert len(rows) == golden_predictions.ROWS
    for row in rows:
        assert row["content"].startswith(b"P5")
        assert sorted(row) == ["content", "id", "predicted", "probabilities"]
        assert row["probabilities"][row["predicted"]] == max(row["probabilities"])
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)


def flip(folder: Path) -> None:
    raw = bytearray((folder / "artifacts/model/model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "artifacts/model/model.safetensors").write_bytes(raw)


def plant(folder: Path) -> None:
    (folder / "artifacts" / "model" / "__pycache__").mkdir()
    (folder / "artifacts" / "model" / "__pycache__" / "saved.cpython-311.pyc").write_bytes(b"")


def plant_beside_serving(folder: Path) -> None:
    (folder / "__pycache__").unlink()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "serving.cpython-311.pyc").write_bytes(b"")


def link(folder: Path) -> None:
    (folder / "MLmodel").rename(folder.parent / "MLmodel")
    (folder / "MLmodel").symlink_to(folder.parent / "MLmodel")


def change_serving(folder: Path) -> None:
    (folder / "serving.py").write_text((folder / "serving.py").read_text() + "\n")


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (flip, "artifacts/model/model.safetensors"),
        (plant, "artifacts/model/__pycache__/saved.cpython-311.pyc"),
        (plant_beside_serving, "__pycache__"),
        (link, "MLmodel"),
        (change_serving, "serving.py"),
        (lambda folder: (folder / "requirements.txt").unlink(), "requirements.txt"),
    ],
)
def test_damaged_package_is_reported(
    client: MlflowClient,
    tmp_path: Path,
    logged: tuple[str, Path, upload.Package],
    damage: Callable[[Path], None],
    file: str,
) -> None:
    run_id, folder, stored = logged
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    listing = json.loads(Path(client.download_artifacts(run_id, f"{integrity.EVIDENCE}/{integrity.FILES}")).read_text())
    damage(copy)
    with pytest.raises(Corrupt, match=file) as caught:
        integrity.verify(copy, stored.digest, listing)
    assert caught.value.code == "package.damaged"


def test_changed_listing_does_not_match_the_digest(
    logged: tuple[str, Path, upload.Package],
) -> None:
    _, folder, stored = logged
    with pytest.raises(Corrupt, match=integrity.FILES) as caught:
        integrity.verify(folder, stored.digest, {})
    assert caught.value.code == "package.damaged"
