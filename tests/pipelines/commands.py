"""Shared by tests that run commands as a user does: the command, a clean environment, and its outcome."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelworks.settings import QUIET

__all__ = ["COMMAND", "DEADLINE", "REPOSITORY", "Outcome", "environment_at"]

REPOSITORY = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("modelworks")
DEADLINE = 300.0
"""Time-out in seconds for a process or a condition; a loaded machine needs a tenth of it."""


ERROR_CODE = re.compile(r"  \[([a-z.-]+)\]$")
"""The code at the end of an error's first line."""


@dataclass(frozen=True)
class Outcome:
    """The exit code and the output of a finished command."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    @property
    def object(self) -> Any:
        """The only content of stdout, one JSON object."""
        return json.loads(self.stdout)

    @property
    def complaint(self) -> list[str]:
        """The lines of the error message, from its first line on, without the code."""
        lines = self.stderr.splitlines()
        starts = [index for index, line in enumerate(lines) if line.startswith(("error: ", "refused: "))]
        if not starts:
            return []
        first = ERROR_CODE.sub("", lines[starts[0]])
        return [first, *lines[starts[0] + 1 :]]

    @property
    def only_the_error(self) -> bool:
        """Whether stdout is empty or has only the error."""
        return not self.stdout or (list(self.object) == ["error"] and self.object["error"]["code"] == self.error_code)

    @property
    def error_code(self) -> str:
        """The code of the error; empty if there is none."""
        found = [
            ERROR_CODE.search(line) for line in self.stderr.splitlines() if line.startswith(("error: ", "refused: "))
        ]
        return found[0][1] if found and found[0] else ""


def environment_at(home: Path) -> dict[str, str]:
    """Return the user's environment without variables of the project, and with an empty home."""
    home.mkdir(parents=True, exist_ok=True)
    ours = ("MODELWORKS_", "MLFLOW_", "PREFECT_", "DVC_", "GX_", "HF_")
    kept = {name: value for name, value in os.environ.items() if name not in QUIET and not name.startswith(ours)}
    return {**kept, "HOME": str(home), "DVC_SITE_CACHE_DIR": str(home / "dvc")}
