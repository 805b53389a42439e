from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from modelworks.errors import Corrupt
from modelworks.project import Project
from modelworks.registry.backend import mlflow_sqlite_internals as tables
from modelworks.registry.backend.sqlite_fast_path import Glance, glance
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

    from modelworks.records import ModelVersion

Register = Callable[..., "ModelVersion"]


def asked(client: MlflowClient, key: str) -> Glance:
    return Glance(version=queries.find(client, "small", key), production=queries.production(client, "small"))


def test_a_glance_imports_no_mlflow(project: Project) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom modelworks.project import Project\n"
        "from modelworks.registry.backend.sqlite_fast_path import glance\n"
        "print(glance(Project(Path(sys.argv[1])), 'small', 'key'))\n"
        "print([name for name in ('mlflow', 'sqlalchemy', 'pandas', 'numpy', 'pyarrow') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(project.root)], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["Glance(version=None, production=0)", "[]"]


def test_without_a_store_there_is_nothing_and_none_is_made(tmp_path: Path) -> None:
    assert glance(Project(tmp_path), "small", "key") == Glance(version=None, production=0)
    assert list(tmp_path.iterdir()) == []


def test_a_schema_it_does_not_know_is_left_to_mlflow(
    client: MlflowClient, project: Project, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    monkeypatch.setattr(tables, "REVISION", "a later one")
    monkeypatch.setattr(tables, "version_of", lambda *_: pytest.fail("read tables of an unknown schema"))
    assert glance(project, "small", "key-0") == asked(client, "key-0")


def test_a_damaged_store_is_corrupt(project: Project) -> None:
    (project.mlflow / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Corrupt):
        glance(project, "small", "key")
