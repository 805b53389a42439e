"""`make soak N=200 SEED=1`: runs killed at seeded random times, the process alone or its whole group, over and over.

A pipeline is killed again and again until a run comes through; then all invariants are asked and it begins anew.
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

from commands import DEADLINE, Outcome
from faults.invariants import Aftermath, reference, violations
from faults.projects import PIPELINES, Ground

from modelworks.project import Project
from modelworks.servers.prefect_client import start_server

MOST_IN_A_ROW = 6
"""Kills before a run is let through: with more of them, most would meet a run that has only begun."""


def main() -> int:
    """Kill N times and print what came of it."""
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
            grounds = {kind: Ground(Path(name) / kind, PIPELINES[kind], url) for kind in options.kinds}
            references = {}
            for kind, ground in grounds.items():
                ground.clear()
                whole = ground.run()
                assert whole.code == 0, whole.stderr
                references[kind] = (reference(ground, whole), whole.seconds)
            while counts["kills"] < options.kills:
                kind = draw.choice(options.kinds)
                ground, (expected, seconds) = grounds[kind], references[kind]
                ground.clear()
                outcomes = _kill_until_done(ground, seconds, draw, options.kills - counts["kills"], counts)
                found = violations(Aftermath(ground, outcomes, expected))
                counts["pipelines brought to their end"] += 1
                bad += [f"{kind} after {len(outcomes) - 1} kills: {each}" for each in found]
                print(
                    f"{counts['kills']:>4} of {options.kills} kills  {time.monotonic() - started:6.0f} s  {kind:<12}"
                    f" {'; '.join(found) or 'all ten hold'}",
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
    ground: Ground, seconds: float, draw: random.Random, budget: int, counts: Counter[str]
) -> list[Outcome]:
    """All outcomes, of which the last is that of a run that was let through or was faster than its kill."""
    outcomes: list[Outcome] = []
    for _ in range(min(MOST_IN_A_ROW, budget)):
        whole_group = draw.random() < 0.5
        with ground.running() as process:
            begun = time.monotonic()
            try:
                stdout, stderr = process.communicate(timeout=draw.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                if whole_group:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                stdout, stderr = process.communicate(timeout=DEADLINE)
                counts["kills"] += 1
                counts[f"kills of the {'whole group' if whole_group else 'run alone'}"] += 1
        outcomes.append(Outcome(process.returncode, stdout, stderr, time.monotonic() - begun))
        if process.returncode == 0:
            counts["runs faster than their kill"] += 1
            return outcomes
        if process.returncode != -signal.SIGKILL:
            counts[f"runs that ended with {process.returncode}"] += 1
    outcomes.append(ground.run())
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
