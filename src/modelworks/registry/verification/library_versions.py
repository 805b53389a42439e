"""The libraries that a package was evaluated with, beside those that are installed where it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.registry.verification.isolated_process import IsolatedModel

__all__ = ["differences"]

FILE = "requirements.txt"
"""Of the package: `name==version` a line, as it was logged."""


def differences(witness: IsolatedModel, package: Path) -> list[str]:
    """What of the package's requirements the fresh process does not have: "numpy 2.4.6 was logged, 2.3.0 is installed".

    Raises:
        Unavailable: the process died.
    """
    lines = (line.strip() for line in (package / FILE).read_text().splitlines())
    logged = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    installed = witness.installed(sorted(logged))
    return [
        f"{name} {version} was logged, {installed[name] or 'none'} is installed"
        for name, version in sorted(logged.items())
        if installed[name] != version
    ]
