"""`make soak N=200 SEED=1`: kill runs, or their process groups, at seeded random times.

A pipeline is killed repeatedly until a run finishes; then all invariants are checked and the next pipeline starts.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from faults.invariants import Aftermath, reference, violations
from faults.projects import PIPELINES, FaultWorkspace
from pipelines.commands import DEADLINE, Outcome

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

MOST_IN_A_ROW = 6
"""Maximum kills before a run may finish; with more, most kills would hit a run that has just started."""


def main() -> int:
    """Kill N times and print the results."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(PIPELINES), choices=list(PIPELINES))
    options = parser.parse_args()
    draw, counts, bad = random.Random(options.seed), Counter[str](), []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        service = Project(Path(name) / "server")
        service.make_private_folders()
        server = start_server(service)
        try:
            url = server.wait()
            projects = {kind: FaultWorkspace(Path(name) / kind, PIPELINES[kind], url) for kind in options.kinds}
            references = {}
            for kind, workspace in projects.items():
                workspace.clear()
                undisturbed = workspace.run()
                assert undisturbed.code == 0, undisturbed.stderr
                references[kind] = (reference(workspace, undisturbed), undisturbed.seconds)
            while counts["kills"] < options.kills:
                kind = draw.choice(options.kinds)
                workspace, (expected, seconds) = projects[kind], references[kind]
                workspace.clear()
                outcomes = _kill_until_done(workspace, seconds, draw, options.kills - counts["kills"], counts)
                found = violations(Aftermath(workspace, outcomes, expected))
                counts["finished pipelines"] += 1
                bad += [f"{kind} after {len(outcomes) - 1} kills: {each}" for each in found]
                print(
                    f"{counts['kills']:>4} of {options.kills} kills  {time.monotonic() - started:6.0f} s  {kind:<12}"
                    f" {'; '.join(found) or 'no violations'}",
                    flush=True,
                )
        finally:
            server.stop()
    print()
    for what, number in sorted(counts.items()):
        print(f"{what:<40} {number:>5}")
    print(f"{'violations':<40} {len(bad):>5}", *bad, sep="\n")
    return 1 if bad else 0


def _kill_until_done(
    workspace: FaultWorkspace, seconds: float, draw: random.Random, budget: int, counts: Counter[str]
) -> list[Outcome]:
    """Return all outcomes; the last is that of a run that finished."""
    outcomes: list[Outcome] = []
    for _ in range(min(MOST_IN_A_ROW, budget)):
        kill_group = draw.random() < 0.5
        with workspace.running() as process:
            begun = time.monotonic()
            try:
                stdout, stderr = process.communicate(timeout=draw.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                if kill_group:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                stdout, stderr = process.communicate(timeout=DEADLINE)
                counts["kills"] += 1
                counts[f"kills of the {'process group' if kill_group else 'run only'}"] += 1
        outcomes.append(Outcome(process.returncode, stdout, stderr, time.monotonic() - begun))
        if process.returncode == 0:
            counts["runs faster than their kill"] += 1
            return outcomes
        if process.returncode != -signal.SIGKILL:
            counts[f"runs that ended with {process.returncode}"] += 1
    outcomes.append(workspace.run())
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
