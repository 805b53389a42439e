"""Part of `make race`: how long Prefect keeps a lock for a holder that was killed. A minute, so no test waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server
from modelworks.settings import QUIET
from tasks.prefect_lock import LEASE

HOLD = """
import sys

from tasks.prefect_lock import PrefectLimit

with PrefectLimit(sys.argv[1], 180).hold("lease", "testing"):
    print("held", flush=True)
    if sys.argv[2] == "until killed":
        sys.stdin.read()
"""
LOOKS_EVERY = 30.0
"""Seconds that Prefect's server and its clients may add before they look again."""


def main() -> int:
    """Kill a holder; 1 when the next one had to wait much longer than the lease."""
    os.environ.update(QUIET)
    with tempfile.TemporaryDirectory(prefix="lease-") as folder:
        project = Project(Path(folder))
        project.make_private_folders()
        os.environ["PREFECT_HOME"] = str(project.prefect_home)
        server = start_server(project, pages=True)  # a whole server: one of a run's own does not look after leases
        try:
            os.environ["PREFECT_API_URL"] = server.wait()
            command = [sys.executable, "-c", HOLD, server.url]
            pipe = subprocess.PIPE
            with subprocess.Popen([*command, "until killed"], stdin=pipe, stdout=pipe, text=True) as first:
                assert first.stdout is not None
                assert first.stdout.readline() == "held\n"
                first.send_signal(signal.SIGKILL)
            started = time.monotonic()
            subprocess.run([*command, "for a moment"], check=True, stdout=subprocess.DEVNULL)
            waited = time.monotonic() - started
        finally:
            server.stop()
    print(f"lease of a killed holder    {LEASE:.0f} s; the next one had the lock after {waited:.1f} s")
    return int(waited > LEASE + LOOKS_EVERY)


if __name__ == "__main__":
    sys.exit(main())
