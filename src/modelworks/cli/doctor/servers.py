"""Servers of ours that outlived what they were started for."""

from __future__ import annotations

from collections.abc import Iterator

from modelworks.cli.doctor.finding import Finding, sick, well
from modelworks.project import Project
from modelworks.servers import orphans

__all__ = ["examine"]


def examine(project: Project) -> Iterator[Finding]:
    """Processes that were started for this project and have lost their parent."""
    found = orphans.find(project)
    if not found:
        yield well("orphaned servers", "none")
        return

    def remedy() -> str:
        orphans.end(found)
        return f"{len(found)} processes ended"

    yield sick("orphaned servers", f"processes {', '.join(str(each.pid) for each in found)}", remedy)
