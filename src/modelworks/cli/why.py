"""`modelworks why`: show what a run would do and why, or explain a verdict."""

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
"""Maximum number of reasons per stage and of slices that are printed; --json lists all."""


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
            _print_plan(found)
        return
    verdict = _verdict(project, target, version)
    if as_json:
        print_json(verdict)
    else:
        _print_verdict(verdict)


def _print_plan(found: PipelineStatus) -> None:
    if found.nothing_to_do:
        print("nothing to do: every stage is up to date")
    for stage, phrases in found.reasons.items():
        unchanged = "would check" if stage == "ingest" else "up to date"
        print(f"{stage:<9} {'would run' if phrases else unchanged}")
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
            "run its config again: the gate runs then",
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
    baseline = f"against version {verdict['baseline']}" if verdict["baseline"] else "without a baseline"
    print(f"{verdict['model']} version {verdict['version']}: {verdict['decision']} ({baseline})")
    for check in verdict["checks"]:
        print(
            f"  {'passed' if check['passed'] else 'FAILED'}  {check['name']} is {check['observed']}, required {check['required']}"
        )
    for remark in verdict.get("remarks", ()):  # verdicts of earlier releases have none
        print(f"  remark  {remark}")
    if verdict.get("changes"):
        _print_changes(verdict)
    print(f"production: {'version ' + str(verdict['production']) if verdict['production'] else 'none'}")
    print(f"page: {verdict['page']} (verdict/verdict.html)")


def _print_changes(verdict: Mapping[str, Any]) -> None:
    """Print how predictions differ from the baseline's, overall and in the slices."""
    changes, baseline = verdict["changes"], f"version {verdict['baseline']}"
    different = changes["fixed"] + changes["broken"] + changes["otherwise"]
    print(
        f"predictions: {different:,} of {changes['rows']:,} test rows ({different / changes['rows']:.2%}) "
        f"differ: {changes['fixed']:,} better, {changes['broken']:,} worse, {changes['otherwise']:,} neither"
    )
    if changes.get("calibration_error") is not None:
        baseline_error = changes["baseline_calibration_error"]
        print(f"calibration error: {changes['calibration_error']:.4f}, {baseline}: {baseline_error:.4f}")
    slices = [each for each in verdict.get("slices", ()) if each["gain"] is not None]
    slices.sort(key=lambda each: -abs(each["gain"]))
    if slices:
        rows = [
            (
                f"{each['by']} {each['value']}",
                f"{each['rows']:,}",
                f"{each['score']:.4f}",
                f"{each['baseline']:.4f}",
                f"{each['gain']:+.4f}",
                "[{low:+.4f}, {high:+.4f}]".format_map(each["difference"]) if each["difference"] else "too few rows",
                f"{each['fixed']:,}",
                f"{each['broken']:,}",
            )
            for each in slices[:SHOWN]
        ]
        print()
        print_table(("slice", "rows", "score", baseline, "gain", "interval", "better", "worse"), rows)
        if len(slices) > SHOWN:
            print(f"and {len(slices) - SHOWN:,} slices that differ less; --json lists all")
        print()
