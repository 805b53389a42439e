"""Which lock a promotion takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelworks.errors import BadInput
from modelworks.files.locks import MachineLock
from modelworks.project import Project
from modelworks.registry.locks.machine import choose_lock, warning
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

TEAM, HERE = "https://mlflow.team.example", "http://127.0.0.1:5000"
PREFECT = "https://prefect.team.example/api"
POSTGRES = "postgresql://team@db.team.example/mlflow"


@pytest.mark.parametrize(
    ("mlflow", "prefect", "lock", "kind", "warned"),
    [
        ("", "", "", MachineLock, False),
        ("", PREFECT, "", MachineLock, False),
        (HERE, "", "", MachineLock, True),  # a server on loopback may be the team's, seen from its host
        (HERE, "", POSTGRES, AdvisoryLock, False),
        (TEAM, PREFECT, "", MachineLock, True),
        (TEAM, PREFECT, POSTGRES, AdvisoryLock, False),
    ],
)
def test_postgresqls_lock_is_taken_where_it_is_named_and_a_servers_store_without_it_is_warned_of(
    tmp_path: Path, mlflow: str, prefect: str, lock: str, kind: type, warned: bool
) -> None:
    project = Project(tmp_path, mlflow_uri=mlflow, prefect_url=prefect, lock_url=lock)
    chosen = choose_lock(project)
    assert type(chosen) is kind
    assert bool(warning(project, chosen)) == warned


def test_a_lock_url_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="MODELWORKS_LOCK_URL"):
        choose_lock(Project(tmp_path, lock_url="redis://host"))
