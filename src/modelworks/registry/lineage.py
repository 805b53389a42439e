"""Ancestry as tags: the one place that spells the names under which runs, versions and moves can be found."""

from __future__ import annotations

import getpass
import subprocess
from typing import TYPE_CHECKING, Any

from modelworks.digest import canonical_json
from modelworks.registry.owner import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelworks.records import Check, DatasetVersion, Evaluation, TrainedModel, Verdict

__all__ = [
    "DATA_VERSION",
    "DECISION",
    "DIGEST",
    "EXPERIMENT",
    "GATE_KEY",
    "HOST",
    "LONGEST",
    "METRICS",
    "MOVE",
    "MOVE_STATE",
    "PIPELINE_KEY",
    "PROBE",
    "PROMOTED_BY",
    "RUN",
    "VERDICT",
    "commit_tags",
    "dataset_tags",
    "hardware_tags",
    "move_tags",
    "owner_of",
    "owner_tags",
    "run_tags",
    "stage_tags",
    "verdict_tags",
    "version_tags",
]

PREFIX = "modelworks."
PIPELINE = PREFIX + "pipeline"
DATA = PREFIX + "data"
DATA_VERSION = PREFIX + "data_version"
PREFECT_RUN = PREFIX + "prefect_flow_run_id"
PREFECT_URL = PREFIX + "prefect_url"
OWNER = PREFIX + "process."
HOST = OWNER + "host"
STAGE = PREFIX + "stage."
PIPELINE_KEY = PREFIX + "pipeline_key"
DIGEST = PREFIX + "digest"
PROBE = PREFIX + "probe_digest"
RUN = PREFIX + "run_id"
EXPERIMENT = PREFIX + "experiment_id"
METRICS = PREFIX + "metrics"
DECISION = PREFIX + "verdict"
GATE_KEY = PREFIX + "gate_key"
OPPONENT = PREFIX + "opponent"
VERDICT = PREFIX + "verdict_json"
PROMOTED_BY = PREFIX + "promoted_by"
COMMIT = PREFIX + "git_commit"
MOVE = PREFIX + "move."
MOVE_STATE = MOVE + "state"

LONGEST = 5000
"""Characters of a tag's value that every registry backend takes."""


def run_tags(*, pipeline: str, prefect_flow_run_id: str, prefect_url: str) -> dict[str, str]:
    """Of a run: whose it is, which process works on it, and where its Prefect run is."""
    return {
        PIPELINE: pipeline,
        # MLflow's own: its UI shows them as who made the run and with what.
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "modelworks run",
        "mlflow.source.type": "LOCAL",
        **({PREFECT_RUN: prefect_flow_run_id} if prefect_flow_run_id else {}),
        **({PREFECT_URL: prefect_url} if prefect_url else {}),
        **owner_tags(),
    }


def owner_tags() -> dict[str, str]:
    """Of whatever the running process has begun and not ended yet."""
    return {OWNER + name: value for name, value in Owner.this().written().items()}


def owner_of(tags: Mapping[str, str]) -> Owner | None:
    """The process that `owner_tags` named."""
    return Owner.read({name.removeprefix(OWNER): value for name, value in tags.items() if name.startswith(OWNER)})


def stage_tags(keys: Mapping[str, str]) -> dict[str, str]:
    """Of a run: the key of each stage it went through."""
    return {STAGE + name: key for name, key in keys.items()}


def dataset_tags(dataset: DatasetVersion) -> dict[str, str]:
    """Of a run or a version: the data it stands on."""
    return {DATA: dataset.name, DATA_VERSION: dataset.digest}


def hardware_tags(trained: TrainedModel) -> dict[str, str]:
    """Of a run: what its model was trained on."""
    return {
        PREFIX + "device": trained.device,
        PREFIX + "precision": trained.precision,
        PREFIX + "threads": str(trained.threads),
        PREFIX + "processes": str(trained.processes),
        PREFIX + "shard": str(trained.shard).lower(),
    }


def commit_tags(root: Path) -> dict[str, str]:
    """The commit that the project stands on, and whether it was changed since; nothing outside git."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    # MLflow's own tag as well: its UI shows it as the run's version.
    return {COMMIT: f"{commit} with changes" if changed else commit, "mlflow.source.git.commit": commit}


def version_tags(
    evaluation: Evaluation, *, pipeline_key: str, run_id: str, experiment_id: str, digest: str, probe: str
) -> dict[str, str]:
    """Of a model version, complete from the moment it exists."""
    metrics = {
        name: [round(figure, 6) for figure in (value.value, value.low, value.high)]
        for name, value in evaluation.metrics.items()
    }
    return {
        PIPELINE_KEY: pipeline_key,
        DIGEST: digest,
        PROBE: probe,
        RUN: run_id,
        EXPERIMENT: experiment_id,
        METRICS: canonical_json(metrics),
        **dataset_tags(evaluation.trained.report.dataset),
    }


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """Of a model version, once the gate has spoken. The gate's key comes last: where it stands, all of them stand."""
    return {
        DECISION: verdict.decision,
        OPPONENT: str(verdict.opponent),
        VERDICT: _verdict_json(verdict),
        GATE_KEY: verdict.key,
    }


def move_tags(
    *, kind: str, before: int, after: int, who: str, why: str, forced: bool, evidence: Mapping[str, Any]
) -> dict[str, str]:
    """Of one move of production, as intended."""
    return {
        MOVE + "kind": kind,
        MOVE + "from": str(before),
        MOVE + "to": str(after),
        MOVE + "who": who,
        MOVE + "why": why,
        MOVE + "forced": "yes" if forced else "no",
        MOVE + "evidence": canonical_json(evidence),
        MOVE_STATE: "intent",
        **owner_tags(),
    }


def _verdict_json(verdict: Verdict) -> str:
    """The verdict with all its checks; with the failed ones first and the rest counted where a tag cannot hold all."""
    checks = sorted(verdict.checks, key=lambda check: check.passed)
    kept = len(checks)
    while True:
        text = canonical_json(
            {
                "decision": verdict.decision,
                "opponent": verdict.opponent,
                "checks": [_check_json(check) for check in (verdict.checks if kept == len(checks) else checks[:kept])],
                **({"left_out": len(checks) - kept} if kept < len(checks) else {}),
            }
        )
        if len(text) < LONGEST or kept == 0:
            return text
        kept -= 1


def _check_json(check: Check) -> dict[str, Any]:
    return {"name": check.name, "passed": check.passed, "found": check.found, "demanded": check.demanded}


def _git(root: Path, *arguments: str) -> str:
    # Optional locks off: looking must not fight with the user's own git commands.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
