"""`modelworks why`: what a run would do and which ingredient changed; or why the gate said what it said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelworks.cli.output import print_json, print_table
from modelworks.cli.production import warn_if_moved
from modelworks.config import run_config as configuration
from modelworks.errors import BadInput
from modelworks.pipeline.status import PipelineStatus, pipeline_status
from modelworks.project import Project

__all__ = ["why"]

SHOWN = 6
"""Reasons per stage, and slices, that people are shown; --json has them all."""


def why(target: str, version: int | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Explain a config's next run, or a version's verdict."""
    project = Project.find()
    project.enter()
    if target.endswith((".yaml", ".yml")) or Path(target).exists():
        if version is not None:
            raise BadInput(
                f"why {target} {version}: a config has no versions",
                "name a model, e.g. modelworks why mnist-cnn 2",
                code="arguments.config-version",
            )
        found = pipeline_status(project, configuration.load(Path(target), overrides))
        if as_json:
            print_json({"nothing_to_do": found.nothing_to_do, "stages": found.reasons, "reports": found.reports})
        else:
            _print_outlook(found)
        return
    verdict = _verdict(project, target, version)
    if as_json:
        print_json(verdict)
    else:
        _print_verdict(verdict)


def _print_outlook(found: PipelineStatus) -> None:
    if found.nothing_to_do:
        print("nothing to do: every stage is up to date, and the verdict was followed")
    for stage, phrases in found.reasons.items():
        quiet = "would look" if stage == "ingest" else "up to date"
        print(f"{stage:<9} {'would run' if phrases else quiet}")
        _print_phrases(phrases)
    for page, phrases in found.reports.items():
        if phrases and not any("depends on" in phrase for phrase in phrases):
            print(f"{page.replace('_', ' ')} would be rendered")
            _print_phrases(phrases)


def _print_phrases(phrases: Sequence[str]) -> None:
    for phrase in phrases[:SHOWN]:
        print(f"          - {phrase}")
    if len(phrases) > SHOWN:
        print(f"          - and {len(phrases) - SHOWN} more")


def _verdict(project: Project, name: str, version: int | None) -> dict[str, Any]:
    from modelworks.registry.backend.tracking_store import connect
    from modelworks.registry.tracking import gate_artifacts
    from modelworks.registry.versions import queries

    client = connect(project)
    warn_if_moved(client, name)
    number = version if version is not None else queries.all_of(client, name)[-1].version
    registered = queries.get(client, name, number)
    if not registered.verdict:
        raise BadInput(
            f"{name} version {number} has no verdict yet",
            "run its config again: the gate then speaks",
            code="version.no-verdict",
        )
    return {
        "model": name,
        "version": number,
        **registered.verdict,
        **(gate_artifacts.details(client, registered) or {}),
        "production": queries.production(client, name) or None,
        "page": project.mlflow_page(registered.experiment_id, registered.run_id),
    }


def _print_verdict(verdict: Mapping[str, Any]) -> None:
    opponent = f"against version {verdict['opponent']}" if verdict["opponent"] else "without an opponent"
    print(f"{verdict['model']} version {verdict['version']}: {verdict['decision']} ({opponent})")
    for check in verdict["checks"]:
        print(
            f"  {'passed' if check['passed'] else 'FAILED'}  {check['name']} is {check['observed']}, required {check['required']}"
        )
    for remark in verdict.get("remarks", ()):  # verdicts of earlier versions of this program have none
        print(f"  remark  {remark}")
    if verdict.get("changes"):
        _print_changes(verdict)
    print(f"production: {'version ' + str(verdict['production']) if verdict['production'] else 'none'}")
    print(f"page: {verdict['page']} (verdict/verdict.html)")


def _print_changes(verdict: Mapping[str, Any]) -> None:
    """What users would notice: over all test rows, and in the slices that differ most."""
    changes, opponent = verdict["changes"], f"version {verdict['opponent']}"
    different = changes["fixed"] + changes["broken"] + changes["otherwise"]
    print(
        f"for users: of {changes['rows']:,} test rows {different:,} ({different / changes['rows']:.2%}) are answered "
        f"differently: {changes['fixed']:,} better, {changes['broken']:,} worse, {changes['otherwise']:,} neither"
    )
    if changes.get("calibration_error") is not None:
        theirs = changes["opponent_calibration_error"]
        print(f"calibration error: {changes['calibration_error']:.4f}, {opponent}'s {theirs:.4f}")
    told = [each for each in verdict.get("slices", ()) if each["gain"] is not None]
    told.sort(key=lambda each: -abs(each["gain"]))
    if told:
        rows = [
            (
                f"{each['by']} {each['value']}",
                f"{each['rows']:,}",
                f"{each['score']:.4f}",
                f"{each['opponent']:.4f}",
                f"{each['gain']:+.4f}",
                "[{low:+.4f}, {high:+.4f}]".format_map(each["difference"]) if each["difference"] else "too few rows",
                f"{each['fixed']:,}",
                f"{each['broken']:,}",
            )
            for each in told[:SHOWN]
        ]
        print()
        print_table(("slice", "rows", "score", opponent, "gain", "interval", "better", "worse"), rows)
        if len(told) > SHOWN:
            print(f"and {len(told) - SHOWN:,} slices that differ less; --json has them all")
        print()
