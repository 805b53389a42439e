"""Store the ingredients of the last finished run and compare them with the current ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from modelworks.files.atomic_files import write_json
from modelworks.pipeline.cache_keys import differences

if TYPE_CHECKING:
    from modelworks.pipeline.stage import Stage
    from modelworks.project import Project

__all__ = ["reasons", "recall", "remember"]


def remember(project: Project, name: str, stages: Iterable[Stage]) -> None:
    """Store the ingredients of a finished run, for `why`."""
    path = project.state / "pipelines" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {stage.name: dict(stage.ingredients) for stage in stages})


def recall(project: Project, name: str) -> dict[str, dict[str, str]]:
    """Return the ingredients by stage; empty if no run has finished or the file is damaged."""
    try:
        return dict(json.loads((project.state / "pipelines" / f"{name}.json").read_text()))
    except (OSError, ValueError):
        return {}


def reasons(stage: Stage, state: str, last: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """Return why a stage would run; empty if it would not.

    Args:
        stage: with its current ingredients.
        state: of its output: intact, damaged or absent.
        last: the ingredients of the last finished run.
    """
    if state == "intact":
        return ()
    if state == "damaged":
        return ("its stored output is damaged",)
    if stage.name not in last:
        return ("it has not run before",)
    return differences(last[stage.name], stage.ingredients) or ("its stored output is missing",)
