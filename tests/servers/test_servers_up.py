"""`modelworks up` can be stopped before its servers have started."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from pipelines.commands import DEADLINE
from pipelines.ports import free_port

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace


@pytest.mark.slow
def test_up_stops_while_its_servers_start(copy: Callable[[Path], Workspace], bare: Path) -> None:
    ports = ("--mlflow-port", str(free_port()), "--prefect-port", str(free_port()))
    with copy(bare).running("up", *ports) as background:
        assert background.process.stdout is not None
        wrapper = background.child("modelworks.servers.child_process")
        background.wait_until(lambda: any("mlflow" in each.cmdline() for each in wrapper.children()))
        servers = [background.child("modelworks.servers.prefect_server"), *wrapper.children()]
        for each in servers:
            each.suspend()  # so that they cannot start before the signal
        background.signal(signal.SIGINT)
        lines = [background.process.stdout.readline() for _ in range(2)]
        assert lines == ["starting the servers ...\n", "stopping ...\n"], background.finish()
        for each in servers:
            each.resume()
        outcome = background.finish()
    assert (outcome.code, outcome.stdout) == (0, "")
    assert psutil.wait_procs(servers, DEADLINE)[1] == []
