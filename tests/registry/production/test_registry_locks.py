"""All lock implementations: one holder at a time, reported to others, released when killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pipelines.postgres import binaries, postgres

from modelworks.errors import BadInput, Unavailable
from modelworks.files.locks import Lock, MachineLock
from modelworks.project import Project
from modelworks.registry.locks.machine import machine_lock
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

HOLDER = """
import sys
from pathlib import Path

from modelworks.files.locks import MachineLock
from modelworks.registry.locks.postgres_advisory import AdvisoryLock

place = sys.argv[1]
lock = AdvisoryLock(place) if place.startswith("postgresql") else MachineLock(Path(place))
with lock.hold("small", "testing"):
    print("held", flush=True)
    sys.stdin.read()
"""
needs_postgres = pytest.mark.skipif(
    binaries() is None, reason="no PostgreSQL is installed here (Debian: apt install postgresql)"
)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as address:
        yield address


@pytest.fixture(params=["flock", pytest.param("postgresql", marks=needs_postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The location of a lock of each kind."""
    return str(tmp_path) if request.param == "flock" else request.getfixturevalue("database")


def with_short_timeout(place: str) -> Lock:
    """Return a lock with a short timeout."""
    return AdvisoryLock(place, 0.2) if place.startswith("postgresql") else MachineLock(Path(place), seconds=0.2)


@contextmanager
def held(place: str) -> Iterator[subprocess.Popen[str]]:
    """Hold the lock in another process."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_holder_is_reported_and_other_names_are_free(place: str) -> None:
    lock = with_short_timeout(place)
    with held(place) as holder:
        owner = rf"pid {holder.pid} on \S+ since 20..-..-.. ..:.. UTC"
        with pytest.raises(Unavailable, match=owner) as caught, lock.hold("small", "testing"):
            pytest.fail("two processes hold the lock")
        assert caught.value.code == "lock.held"
        with lock.hold("another", "testing"):
            pass
        assert holder.poll() is None


def test_lock_of_a_killed_holder_is_released(place: str) -> None:
    lock = AdvisoryLock(place, 10) if place.startswith("postgresql") else MachineLock(Path(place), seconds=10)
    with held(place) as holder:
        with pytest.raises(Unavailable), with_short_timeout(place).hold("small", "testing"):
            pytest.fail("two processes hold the lock")
        holder.kill()
        with lock.hold("small", "testing"):
            assert holder.wait(10) == -signal.SIGKILL


def test_lock_is_released_after_an_error_in_the_block(place: str) -> None:
    lock = with_short_timeout(place)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), lock.hold("small", "testing"):
            raise ZeroDivisionError
    with lock.hold("small", "testing"):
        pass


@pytest.mark.slow
@needs_postgres
def test_concurrent_promotions_under_a_database_lock_are_serialized(database: str) -> None:
    race = Path(__file__).parents[2] / "programs" / "race.py"
    command = [sys.executable, str(race), "--json", "--processes", "2", "--attempts", "5", "--lock", database]
    table = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=200).stdout)
    assert table["lock"].startswith("PostgreSQL advisory lock, among all who use 127.0.0.1:")
    assert table["violations"] == []
    assert table["moved"] >= 2


@needs_postgres
def test_url_may_have_a_driver_and_unknown_database_is_reported(database: str) -> None:
    with AdvisoryLock(database.replace("postgresql://", "postgresql+psycopg2://")).hold("small", "testing"):
        pass
    lost = AdvisoryLock(database.replace("/postgres", "/no_such_database").replace("team@", "team:secret@"))
    with pytest.raises(BadInput, match="no_such_database") as caught, lost.hold("small", "testing"):
        pytest.fail("it has the lock")
    assert caught.value.code == "lock.address"
    assert "secret" not in str(caught.value) + repr(lost) + lost.kind


def test_unreachable_database_is_reported_without_its_password() -> None:
    lock = AdvisoryLock("postgresql://team:secret@127.0.0.1:9/mlflow")
    with (
        pytest.raises(Unavailable, match=r"127\.0\.0\.1:9/mlflow") as caught,
        lock.hold("a", "testing"),
    ):
        pytest.fail("it has the lock")
    assert caught.value.code == "lock.unavailable"
    assert "secret" not in str(caught.value) + repr(lock) + lock.kind


def test_url_of_another_database_is_bad_input() -> None:
    with pytest.raises(BadInput, match="MODELWORKS_LOCK_URL") as caught:
        AdvisoryLock("mysql://host/db")
    assert caught.value.code == "lock.address"


def test_projects_with_one_store_share_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    one, two = (Project(tmp_path / name, mlflow_uri=f"sqlite:///{tmp_path}/team.db") for name in ("one", "two"))
    assert machine_lock(one) == machine_lock(two) == MachineLock(tmp_path / ".locks")
    assert "of this machine" in machine_lock(one).kind


def test_equivalent_server_urls_share_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def lock(uri: str) -> MachineLock:
        return machine_lock(Project(tmp_path, mlflow_uri=uri))

    here = lock("http://127.0.0.1:5000")
    for same in ("http://127.0.0.1:5000/", "http://localhost:5000", "http://LocalHost:5000/", "http://[::1]:5000"):
        assert lock(same) == here, same
    assert lock("http://ann:secret@team.example/mlflow") == lock("http://team.example/mlflow/")
    others = ["http://127.0.0.1:5001", "http://localhost", "https://team.example", "http://localhost.team.example:5000"]
    assert len({each.folder for each in (here, *map(lock, others))}) == 5
    assert here.folder.is_relative_to(tmp_path)
    assert here.kind == lock("http://team.example").kind == "flock, among the processes of this user on this machine"
