"""Small stores on a disk with faults, for tests."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from faults.disks import MODEL
from faults.invariants import (
    mlflow_head,
)

from modelworks.project import Project
from modelworks.registry.production import audit_log

if TYPE_CHECKING:
    from mlflow import MlflowClient


def assert_complete(project: Project) -> None:
    with closing(sqlite3.connect(project.mlflow / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(mlflow_head(),)]


def intents(client: MlflowClient) -> set[str]:
    return {move.id for move in audit_log.history(client, MODEL)}
