"""The choice of the lock for promotions."""

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
        (HERE, "", "", MachineLock, True),  # a server on loopback may be shared: this may be its host
        (HERE, "", POSTGRES, AdvisoryLock, False),
        (TEAM, PREFECT, "", MachineLock, True),
        (TEAM, PREFECT, POSTGRES, AdvisoryLock, False),
    ],
)
def test_lock_is_postgresqls_if_configured_and_a_shared_store_without_it_causes_a_warning(
    tmp_path: Path, mlflow: str, prefect: str, lock: str, kind: type, warned: bool
) -> None:
    project = Project(tmp_path, mlflow_uri=mlflow, prefect_url=prefect, lock_url=lock)
    chosen = choose_lock(project)
    assert type(chosen) is kind
    assert bool(warning(project, chosen)) == warned


def test_unsupported_lock_url_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="MODELWORKS_LOCK_URL") as caught:
        choose_lock(Project(tmp_path, lock_url="redis://host"))
    assert caught.value.code == "lock.address"
