"""Read the DVC remotes from DVC's configuration files."""

from __future__ import annotations

import re
from configparser import ConfigParser
from typing import TYPE_CHECKING

from modelworks.redaction import without_password

if TYPE_CHECKING:
    from modelworks.project import Project

__all__ = ["remotes"]


def remotes(project: Project) -> tuple[str, dict[str, str]]:
    """Return the name of the default remote ("" for none) and each remote's address without secrets."""
    parser = ConfigParser(interpolation=None, strict=False)
    parser.read([project.root / ".dvc" / "config", project.root / ".dvc" / "config.local"])
    named = {section: re.fullmatch(r"""'?remote "(.*)"'?""", section) for section in parser.sections()}
    addresses = {
        # The query of an address may contain tokens.
        match.group(1): without_password(parser[section].get("url", "")).partition("?")[0]
        for section, match in named.items()
        if match
    }
    return parser.get("core", "remote", fallback=""), addresses
