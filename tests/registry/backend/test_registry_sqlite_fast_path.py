from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from modelworks.errors import Corrupt
from modelworks.project import Project
from modelworks.registry.backend import mlflow_sqlite_internals as tables
from modelworks.registry.backend.sqlite_fast_path import RegistryState, registry_state
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

    from modelworks.records import ModelVersion

Register = Callable[..., "ModelVersion"]


def expected(client: MlflowClient, key: str) -> RegistryState:
    return RegistryState(version=queries.find(client, "small", key), production=queries.production(client, "small"))


def test_registry_state_does_not_import_mlflow(project: Project) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom modelworks.project import Project\n"
        "from modelworks.registry.backend.sqlite_fast_path import registry_state\n"
        "print(registry_state(Project(Path(sys.argv[1])), 'small', 'key'))\n"
        "print([name for name in ('mlflow', 'sqlalchemy', 'pandas', 'numpy', 'pyarrow') if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(project.root)], check=True, capture_output=True, text=True
    )
    assert result.stdout.splitlines() == ["RegistryState(version=None, production=0)", "[]"]


def test_registry_state_without_a_store_creates_none(tmp_path: Path) -> None:
    assert registry_state(Project(tmp_path), "small", "key") == RegistryState(version=None, production=0)
    assert list(tmp_path.iterdir()) == []


def test_unknown_schema_is_read_with_the_mlflow_client(
    client: MlflowClient, project: Project, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    monkeypatch.setattr(tables, "REVISION", "a later one")
    monkeypatch.setattr(tables, "version_of", lambda *_: pytest.fail("read tables of an unknown schema"))
    assert registry_state(project, "small", "key-0") == expected(client, "key-0")


def test_damaged_store_is_corrupt(project: Project) -> None:
    (project.mlflow / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Corrupt):
        registry_state(project, "small", "key")
