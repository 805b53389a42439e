"""Install the packages of a tool to a temporary folder, without changing the project's environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import ROOT
from benchmarks.recovery.tool import Tool

__all__ = ["NotInstalled", "install"]


class NotInstalled(Exception):
    """A package cannot be installed on this machine; the message is the installer's last line."""


def install(tool: Tool, folder: Path) -> Path | None:
    """Return the folder with the packages; None if the project's environment has all of them.

    Raises:
        NotInstalled: the installer failed.
    """
    if not tool.packages:
        return None
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        sys.executable,
        "--target",
        folder,
        *tool.packages,
    ]
    if tool.constrained:
        command += ["--constraint", ROOT / "requirements.lock"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled((done.stderr.strip().splitlines() or [f"uv ended with {done.returncode}"])[-1])
    return folder
