"""`doctor` does not treat a run that is retried in the Prefect UI as one whose process is dead."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from pipelines.prefect_servers import served_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import AwaitingRetry, Failed, Pending, Running

from flows.training import training
from modelworks.cli.doctor import orchestration
from modelworks.project import Project
from modelworks.registry.tracking.process_identity import Owner
from modelworks.registry.tracking.tags import ATTEMPT, OWNER


@pytest.fixture
def client(project: Project) -> Iterator[SyncPrefectClient]:
    with served_client(project) as client:
        yield client


@pytest.mark.parametrize(
    "labelled",
    [pytest.param(True, id=""), pytest.param(False, id="by an earlier release", marks=pytest.mark.slow)],
)
def test_retried_run_with_the_label_of_its_first_attempt_is_not_stale(
    project: Project, client: SyncPrefectClient, labelled: bool
) -> None:
    dead = dataclasses.replace(Owner.this(), pid=2**30).written()
    labels = {**{OWNER + part: value for part, value in dead.items()}, **({ATTEMPT: "1"} if labelled else {})}
    flow_run_id = client.create_flow_run(training, parameters={"config": "configs/none.yaml"}).id

    def found() -> str:
        (finding,) = orchestration.examine(project)
        return finding.state

    client.set_flow_run_state(flow_run_id, Running(), force=True)
    assert found() == "ok", "its process is not recorded yet"
    client.update_flow_run_labels(flow_run_id, labels)
    assert found() == "repairable"
    for state in (Failed(), AwaitingRetry(), Pending()):
        client.set_flow_run_state(flow_run_id, state, force=True)
        assert found() == "ok", state.name
    client.set_flow_run_state(flow_run_id, Running(), force=True)
    assert client.read_flow_run(flow_run_id).run_count == 2
    assert found() == ("ok" if labelled else "repairable"), "earlier releases did not record the attempt"
    client.update_flow_run_labels(flow_run_id, {**labels, ATTEMPT: "2"})
    assert found() == "repairable"
