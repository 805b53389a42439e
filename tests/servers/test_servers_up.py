"""`modelworks up` is stopped at any time, also before what it starts has started."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from commands import DEADLINE
from ports import free_port

if TYPE_CHECKING:
    from conftest import Workspace


def test_it_stops_at_once_while_its_servers_start(copy: Callable[[Path], Workspace], bare: Path) -> None:
    ports = ("--mlflow-port", str(free_port()), "--prefect-port", str(free_port()))
    with copy(bare).running("up", *ports) as background:
        assert background.process.stdout is not None
        keeper = background.child("modelworks.servers.child_process")
        background.wait_until(lambda: any("mlflow" in each.cmdline() for each in keeper.children()))
        servers = [background.child("modelworks.servers.prefect_server"), *keeper.children()]
        for each in servers:
            each.suspend()  # as long as it takes
        background.signal(signal.SIGINT)
        said = [background.process.stdout.readline() for _ in range(2)]
        assert said == ["starting the servers ...\n", "stopping ...\n"], background.finish()
        for each in servers:
            each.resume()
        outcome = background.finish()
    assert (outcome.code, outcome.stdout) == (0, "")
    assert psutil.wait_procs(servers, DEADLINE)[1] == []
