from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from modelworks.registry.tracking.process_identity import Owner
from modelworks.registry.tracking.stale_runs import close, close_stale_runs, close_when_done, left_open

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project

WORKS_UNTIL_KILLED = """
import json, sys
from pathlib import Path

from modelworks.project import Project
from modelworks.registry.tracking import runs
from modelworks.registry.backend import tracking_store

project = Project(Path(sys.argv[1]))
client = tracking_store.connect(project)
run_id = runs.start(client, project, experiment="small", parameters={}, prefect_flow_run_id="", prefect_url="")
client.create_logged_model(client.get_run(run_id).info.experiment_id, name="model", source_run_id=run_id)
print(json.dumps(run_id), flush=True)
sys.stdin.read()
"""


def test_run_of_a_killed_process_is_closed_and_its_pending_model_deleted(
    client: MlflowClient, project: Project, begin: Callable[[], str]
) -> None:
    own = begin()
    command = [sys.executable, "-c", WORKS_UNTIL_KILLED, str(project.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        run_id = json.loads(child.stdout.readline())
        assert close_stale_runs(client, ["small", "no such experiment"]) == []
        child.kill()
        # Not reaped yet: a zombie counts as dead.
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert close_stale_runs(client, ["small"]) == [run_id]
    assert client.get_run(run_id).info.status == "KILLED"
    assert client.get_run(own).info.status == "RUNNING"
    experiment = client.get_run(run_id).info.experiment_id
    assert client.search_logged_models([experiment]) == []
    assert close_stale_runs(client, ["small"]) == []


def test_left_open_changes_nothing(client: MlflowClient, project: Project) -> None:
    run_id = left_by_a_killed_process(project)
    for _ in range(2):
        left = left_open(client, ["small"])
        assert left.runs == (run_id,)
        assert len(left.models) == 1
    assert client.get_run(run_id).info.status == "RUNNING"
    close(client, left)
    assert left_open(client, ["small"]).runs == ()
    assert client.search_logged_models([client.get_run(run_id).info.experiment_id]) == []


def test_stale_run_is_closed_when_there_is_nothing_to_do(client: MlflowClient, project: Project) -> None:
    close_when_done(project, "small")  # no such experiment
    run_id = left_by_a_killed_process(project)
    close_when_done(project, "another")
    assert client.get_run(run_id).info.status == "RUNNING"
    close_when_done(project, "small")
    assert client.get_run(run_id).info.status == "KILLED"


def test_pending_model_of_another_run_is_not_deleted(client: MlflowClient) -> None:
    experiment = client.create_experiment("small")
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, name="mine", source_run_id=run)
    client.set_terminated(run)
    assert left_open(client, ["small"]).models == ()
    assert client.get_logged_model(model.model_id).name == "mine"


def left_by_a_killed_process(project: Project) -> str:
    """Return the id of a killed process's run, which has a pending model."""
    command = [sys.executable, "-c", WORKS_UNTIL_KILLED, str(project.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        run_id: str = json.loads(child.stdout.readline())
        child.kill()
    return run_id


def test_owner_is_read_back_from_its_tags() -> None:
    owner = Owner.this()
    read = Owner.read(owner.written())
    assert read == dataclasses.replace(owner, started=round(owner.started, 2))
    assert Owner.read({"host": "a"}) is None


def test_reused_pid_and_reboot_mean_dead_but_other_hosts_are_unknown() -> None:
    this = Owner.this()
    assert this.pid == os.getpid()
    assert not this.is_dead
    assert dataclasses.replace(this, started=this.started - 60).is_dead
    assert dataclasses.replace(this, boot="another").is_dead
    elsewhere = dataclasses.replace(this, host="another", boot="another")
    assert not elsewhere.is_here
    assert not elsewhere.is_dead


def test_processes_of_another_machine_with_the_same_name_are_unknown() -> None:
    this = Owner.this()
    identity = Path("/etc/machine-id")
    known = identity.read_text().strip() if identity.exists() else ""
    assert bool(this.machine) == bool(known)
    assert this.machine != known or not known  # the machine id is confidential
    namesake = dataclasses.replace(this, machine="another", boot="another", pid=2**30)
    assert not namesake.is_here
    assert not namesake.is_dead


def test_processes_of_another_container_are_unknown_until_a_reboot() -> None:
    this = Owner.this()
    assert bool(this.namespace) == Path("/proc/self/ns/pid").exists()
    beside = dataclasses.replace(this, namespace="pid:[1]", pid=2**30)
    assert not beside.is_here
    assert not beside.is_dead
    assert dataclasses.replace(beside, boot="another").is_dead


def test_owner_of_an_earlier_release_is_identified_by_host_and_boot() -> None:
    written = {name: value for name, value in Owner.this().written().items() if name not in ("machine", "namespace")}
    for changes, dead in (({}, False), ({"pid": str(2**30)}, True), ({"boot": "another"}, True)):
        owner = Owner.read({**written, **changes})
        assert owner is not None
        assert owner.is_here
        assert owner.is_dead == dead
        assert owner.written() == {**written, **changes}
