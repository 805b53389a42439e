"""Where DVC keeps data besides this machine, read from its own configuration files."""

from __future__ import annotations

import re
from configparser import ConfigParser
from typing import TYPE_CHECKING

from modelworks.redaction import without_password

if TYPE_CHECKING:
    from modelworks.project import Project

__all__ = ["remotes"]


def remotes(project: Project) -> tuple[str, dict[str, str]]:
    """The name of the default remote, empty for none, and the address of each remote without what is secret in it."""
    parser = ConfigParser(interpolation=None, strict=False)
    parser.read([project.root / ".dvc" / "config", project.root / ".dvc" / "config.local"])
    named = {section: re.fullmatch(r"""'?remote "(.*)"'?""", section) for section in parser.sections()}
    addresses = {
        # A query is where tokens stand.
        match.group(1): without_password(parser[section].get("url", "")).partition("?")[0]
        for section, match in named.items()
        if match
    }
    return parser.get("core", "remote", fallback=""), addresses
