from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from modelworks.errors import Corrupt
from modelworks.project import Project
from modelworks.registry.backend import sqlite_fast_path as looking
from modelworks.registry.backend.sqlite_fast_path import Glance, glance
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

    from modelworks.records import ModelVersion

Register = Callable[..., "ModelVersion"]


def asked(client: MlflowClient, key: str) -> Glance:
    return Glance(version=queries.find(client, "small", key), production=queries.production(client, "small"))


def test_a_glance_sees_what_mlflow_says(client: MlflowClient, project: Project, register: Register) -> None:
    assert glance(project, "small", "key-0") == asked(client, "key-0") == Glance(version=None, production=0)
    register(0)
    register(1)
    client.set_registered_model_alias("small", "production", "1")
    for key in ("key-0", "key-1", "another"):
        assert glance(project, "small", key) == asked(client, key)
    found = glance(project, "small", "key-1")
    assert found.production == 1
    assert found.version is not None
    assert found.version.decision == "promote"
    client.delete_model_version("small", "2")
    assert glance(project, "small", "key-1") == asked(client, "key-1") == Glance(version=None, production=1)


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
    monkeypatch.setattr(looking, "REVISION", "a later one")
    monkeypatch.setattr(looking, "_read", lambda *_: pytest.fail("read tables of an unknown schema"))
    assert glance(project, "small", "key-0") == asked(client, "key-0")


def test_its_revision_is_that_of_the_installed_mlflow(project: Project) -> None:
    with sqlite3.connect(project.mlflow / "mlflow.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(looking.REVISION,)]


def test_a_damaged_store_is_corrupt(project: Project) -> None:
    (project.mlflow / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Corrupt):
        glance(project, "small", "key")
