"""Install the packages of a way into a temporary folder, beside the project's environment and without changing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import ROOT
from benchmarks.recovery.way import Way

__all__ = ["NotInstalled", "install"]


class NotInstalled(Exception):
    """A package cannot be installed on this machine; the message is the installer's last line."""


def install(way: Way, folder: Path) -> Path | None:
    """Return the folder with the packages, None if the project has all that the way needs.

    Raises:
        NotInstalled: the installer failed.
    """
    if not way.packages:
        return None
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", folder, *way.packages]
    if way.constrained:
        command += ["--constraint", ROOT / "requirements.lock"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or [f"uv ended with {done.returncode}"])[-1])
    return folder
