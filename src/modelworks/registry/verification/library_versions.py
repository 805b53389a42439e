"""Compare the libraries of a package's requirements with the installed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from modelworks.registry.verification.isolated_process import IsolatedModel

__all__ = ["differences"]

FILE = "requirements.txt"
"""In the package: one `name==version` per line."""


def differences(process: IsolatedModel, package: Path) -> list[str]:
    """Return the differences, such as "numpy 2.4.6 was logged, 2.3.0 is installed".

    Raises:
        Unavailable: the process died.
    """
    lines = (line.strip() for line in (package / FILE).read_text().splitlines())
    logged = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    installed = process.installed(sorted(logged))
    return [
        f"{name} {version} was logged, {installed[name] or 'none'} is installed"
        for name, version in sorted(logged.items())
        if installed[name] != version
    ]
