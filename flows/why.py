"""`modelworks why`: what a run would do and which ingredient changed; or why the gate said what it said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.output import print_json
from modelworks import config as configuration
from modelworks.current import outlook
from modelworks.errors import BadInput
from modelworks.project import Project

__all__ = ["why"]

SHOWN = 6
"""Reasons per stage that people are shown; --json has them all."""


def why(target: str, version: int | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Explain a config's next run, or a version's verdict."""
    project = Project.find()
    os.environ |= {name: value for name, value in project.environment().items() if name not in os.environ}
    if target.endswith((".yaml", ".yml")) or Path(target).exists():
        if version is not None:
            raise BadInput(
                f"why {target} {version}: a config has no versions", "name a model, e.g. modelworks why mnist-cnn 2"
            )
        found = outlook(project, configuration.load(Path(target), overrides))
        reasons = {stage: list(phrases) for stage, phrases in found.reasons.items()}
        if as_json:
            print_json({"nothing_to_do": not any(reasons.values()), "stages": reasons})
        else:
            _print_stages(reasons)
        return
    verdict = _verdict(project, target, version)
    if as_json:
        print_json(verdict)
    else:
        _print_verdict(verdict)


def _print_stages(reasons: dict[str, list[str]]) -> None:
    if not any(reasons.values()):
        print("nothing to do: every stage stands, and the verdict was followed")
    for stage, phrases in reasons.items():
        quiet = "would look" if stage == "ingest" else "stands"
        print(f"{stage:<9} {'would run' if phrases else quiet}")
        for phrase in phrases[:SHOWN]:
            print(f"          - {phrase}")
        if len(phrases) > SHOWN:
            print(f"          - and {len(phrases) - SHOWN} more")


def _verdict(project: Project, name: str, version: int | None) -> dict[str, Any]:
    import json

    from modelworks.registry import versions
    from modelworks.registry.store import connect

    client = connect(project)
    number = version if version is not None else versions.all_of(client, name)[-1].version
    registered = versions.get(client, name, number)
    if not registered.verdict:
        raise BadInput(f"{name} version {number} has no verdict yet", "run its config again: the gate then speaks")
    return {
        "model": name,
        "version": number,
        **json.loads(registered.verdict),
        "production": versions.production(client, name) or None,
    }


def _print_verdict(verdict: dict[str, Any]) -> None:
    opponent = f"against version {verdict['opponent']}" if verdict["opponent"] else "without an opponent"
    print(f"{verdict['model']} version {verdict['version']}: {verdict['decision']} ({opponent})")
    for check in verdict["checks"]:
        print(
            f"  {'passed' if check['passed'] else 'FAILED'}  {check['name']} is {check['found']}, demanded {check['demanded']}"
        )
    print(f"production: {'version ' + str(verdict['production']) if verdict['production'] else 'none'}")
