"""No code of a hostile package runs, however the package is used.

Each is refused with the reason.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from samples.artifacts import local_path
from security.hostile import ATTACKS, FORGED, code, pickled

from modelworks.errors import Corrupt, Refused
from modelworks.files.atomic_files import write_json
from modelworks.files.digest import folder_digests, json_digest
from modelworks.project import Project
from modelworks.registry.packaging import integrity
from modelworks.registry.production import promotion
from modelworks.registry.tracking import tags
from modelworks.registry.verification import verify_version
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.verification.isolated_process import IsolatedModel

NAME = "small"


@dataclass
class Registry:
    """A project with a version, and the folders of its files."""

    client: MlflowClient
    project: Project
    package: Path
    evidence: Path
    original: Path

    @contextmanager
    def attacked(self, name: str, canary: Path, *, forged: bool = False) -> Iterator[None]:
        """Attack the package in the block and restore it afterwards."""
        ATTACKS[name](self.package, canary)
        if forged:
            self.forge()
        yield
        for folder in (self.package, self.evidence):
            shutil.rmtree(folder)
            shutil.copytree(self.original / folder.name, folder)
        listing = integrity.read_listing(self.evidence / integrity.FILES)
        self.client.set_model_version_tag(NAME, "1", tags.DIGEST, json_digest(listing))
        for outside in self.package.parent.parent.glob("outside*"):
            shutil.rmtree(outside) if outside.is_dir() else outside.unlink()

    def forge(self) -> None:
        """Update the digests, as an attacker can who may write the registry's tags."""
        files = folder_digests(self.package)
        write_json(self.evidence / integrity.FILES, files)
        self.client.set_model_version_tag(NAME, "1", tags.DIGEST, json_digest(files))


@pytest.fixture
def registry(client: MlflowClient, project: Project, register: Callable[..., Any], tmp_path: Path) -> Registry:
    version = register()
    source = client.get_model_version(NAME, "1").source
    run = client.get_run(version.run_id)
    stored = local_path(source)
    evidence = local_path(run.info.artifact_uri) / integrity.EVIDENCE
    for folder in (stored, evidence):
        shutil.copytree(folder, tmp_path / "original" / folder.name)
    return Registry(client, project, stored, evidence, tmp_path / "original")


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Return a path that only hostile code creates; the test fails if it exists at the end."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "hostile code ran"


def test_canary_is_created_if_hostile_code_runs(tmp_path: Path) -> None:
    pickle.loads(pickled(tmp_path / "pickle"))
    exec(code(tmp_path / "code"))
    assert (tmp_path / "pickle").exists()
    assert (tmp_path / "code").exists()


@pytest.mark.slow
def test_changed_package_is_refused_by_promotion_and_fetch(
    registry: Registry, isolated_model: IsolatedModel, canary: Path
) -> None:
    assert len(ATTACKS) >= 20
    accepted = []
    for name in ATTACKS:
        with registry.attacked(name, canary):
            version = queries.get(registry.client, NAME, 1)
            # First promotion and rollback; then the gate's baseline, serving and rebuild.
            if not _refuses(lambda: verify_version.prove(registry.client, version, isolated_model), (Corrupt,)):  # noqa: B023  # called at once
                accepted.append(f"promotion: {name}")
            if not _refuses(
                lambda: verify_version.model_folder(registry.client, registry.project, NAME, 1), (Corrupt,)
            ):
                accepted.append(f"fetch: {name}")
            assert not canary.exists(), name
    assert accepted == []
    assert (
        verify_version.prove(registry.client, queries.get(registry.client, NAME, 1), isolated_model)["probe_rows"] > 0
    )


@pytest.mark.slow
def test_package_with_a_forbidden_layout_is_refused_even_if_every_digest_matches(
    registry: Registry, isolated_model: IsolatedModel, canary: Path
) -> None:
    accepted = []
    for name in FORGED:
        with registry.attacked(name, canary, forged=True):
            version = queries.get(registry.client, NAME, 1)
            if not _refuses(
                lambda: verify_version.prove(registry.client, version, isolated_model, other_libraries=True)  # noqa: B023
            ):
                accepted.append(f"promotion: {name}")
            if not _refuses(lambda: _predict(registry)):
                accepted.append(f"prediction: {name}")
            assert not canary.exists(), name
    assert accepted == []


def test_file_names_outside_the_package_are_refused(registry: Registry, canary: Path) -> None:
    for name in (
        "../outside.py",
        "/etc/passwd",
        "artifacts/model/../../serving.py",
        "artifacts//serving.py",
        "a\\b.py",
    ):
        listing = integrity.read_listing(registry.evidence / integrity.FILES)
        listing[name] = {"size": 1, "sha256": "0" * 64}
        write_json(registry.evidence / integrity.FILES, listing)
        registry.client.set_model_version_tag(NAME, "1", tags.DIGEST, json_digest(listing))
        with pytest.raises(Corrupt) as caught:
            verify_version.model_folder(registry.client, registry.project, NAME, 1)
        assert caught.value.code == "package.form"
        del listing[name]
        write_json(registry.evidence / integrity.FILES, listing)


def test_digest_that_is_a_path_is_refused(registry: Registry) -> None:
    registry.client.set_model_version_tag(NAME, "1", tags.DIGEST, "../../outside")
    with pytest.raises(Corrupt) as caught:
        verify_version.model_folder(registry.client, registry.project, NAME, 1)
    assert caught.value.code == "version.bad-digest"


def test_refused_promotion_does_not_change_production(registry: Registry, canary: Path) -> None:
    ATTACKS["a planted serving.py"](registry.package, canary)
    with pytest.raises(Corrupt, match=r"serving\.py"):
        promotion.promote(
            registry.client, registry.project, NAME, 1, expected=0, reason="a test", who="a test", evidence={}
        )
    assert queries.production(registry.client, NAME) == 0


LOAD = """
import json, os, sys
assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
import mlflow.pyfunc
try:
    mlflow.pyfunc.load_model(sys.argv[1])
except Exception as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""


@pytest.mark.parametrize(
    "name",
    [
        "a pickle called model.safetensors",
        pytest.param("a planted architecture.py", marks=pytest.mark.slow),
        pytest.param("a planted saved.py", marks=pytest.mark.slow),
        "a python_model pickle in MLmodel",
    ],
)
def test_mlflow_load_model_runs_no_changed_code_of_the_saved_model_and_no_pickle(
    registry: Registry, canary: Path, name: str
) -> None:
    before = (registry.package / "artifacts/model/manifest.json").read_bytes()
    ATTACKS[name](registry.package, canary)
    (registry.package / "artifacts/model/manifest.json").write_bytes(before)
    command = [sys.executable, "-I", "-B", "-c", LOAD, str(registry.package)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout.splitlines()[-1])


def _refuses(use: Callable[[], object], kinds: tuple[type[Exception], ...] = (Corrupt, Refused)) -> bool:
    """Return whether it raises one of our errors; any other exception is a bug and is raised."""
    try:
        use()
    except kinds:
        return True
    return False


def _predict(registry: Registry) -> Any:
    """Predict rows as the gate does with its baseline."""
    from modelworks.data import dataset_format
    from modelworks.evaluation import inference

    model = inference.load(verify_version.model_folder(registry.client, registry.project, NAME, 1))
    contents = dataset_format.read(registry.project.data / "image")["image"].to_pylist()[:4]
    rows = inference.TestSet(rows=np.arange(4), ids=("0",) * 4, targets={}, contents=contents)
    return inference.predict(model, rows)
