"""Names and values of the tags on runs, versions and audit log entries."""

from __future__ import annotations

import dataclasses
import getpass
from typing import TYPE_CHECKING, Any

from modelworks import git
from modelworks.files.digest import canonical_json
from modelworks.registry.tracking.process_identity import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelworks.records import Check, DatasetVersion, Evaluation, TrainedModel, Verdict

__all__ = [
    "ATTEMPT",
    "DATA_VERSION",
    "DECISION",
    "DIGEST",
    "EXPERIMENT",
    "GATE_KEY",
    "GATE_PAGE",
    "GOLDEN",
    "HOST",
    "LONGEST",
    "METRICS",
    "MOVE",
    "MOVE_BECAUSE",
    "MOVE_KEY",
    "MOVE_NUMBER",
    "MOVE_STATE",
    "MOVE_WHEN",
    "PIPELINE",
    "PIPELINE_KEY",
    "PROMOTED_BY",
    "RECORD",
    "RUN",
    "TRAINING_IDS",
    "VERDICT",
    "commit_tags",
    "dataset_tags",
    "hardware_tags",
    "moved_tags",
    "owner_of",
    "owner_tags",
    "record_tags",
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
ATTEMPT = OWNER + "attempt"
STAGE = PREFIX + "stage."
PIPELINE_KEY = PREFIX + "pipeline_key"
DIGEST = PREFIX + "digest"
GOLDEN = PREFIX + "probe_digest"
RUN = PREFIX + "run_id"
EXPERIMENT = PREFIX + "experiment_id"
METRICS = PREFIX + "metrics"
DECISION = PREFIX + "verdict"
GATE_KEY = PREFIX + "gate_key"
GATE_PAGE = PREFIX + "gate_page_key"
BASELINE = PREFIX + "baseline"
VERDICT = PREFIX + "verdict_json"
PROMOTED_BY = PREFIX + "promoted_by"
COMMIT = PREFIX + "git_commit"
RECORD = PREFIX + "record_digest"
TRAINING_IDS = PREFIX + "training_ids_digest"
MOVE = PREFIX + "move."
MOVE_STATE = MOVE + "state"
MOVE_NUMBER = MOVE + "number"
MOVE_KEY = MOVE + "key"
MOVE_WHEN = MOVE + "when"
MOVE_BECAUSE = MOVE + "because"

LONGEST = 5000
"""Maximum characters of a tag value that every registry backend accepts."""


def run_tags(*, pipeline: str, prefect_flow_run_id: str, prefect_url: str) -> dict[str, str]:
    """Return the tags of a new run: pipeline, owner process, and Prefect run."""
    return {
        PIPELINE: pipeline,
        # MLflow's tags: the UI shows them as user and source.
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "modelworks run",
        "mlflow.source.type": "LOCAL",
        **({PREFECT_RUN: prefect_flow_run_id} if prefect_flow_run_id else {}),
        **({PREFECT_URL: prefect_url} if prefect_url else {}),
        **owner_tags(),
    }


def owner_tags() -> dict[str, str]:
    """Return the tags that name this process as the owner."""
    return {OWNER + name: value for name, value in Owner.this().written().items()}


def owner_of(tags: Mapping[str, str]) -> Owner | None:
    """Return the process in `owner_tags`; None if there is none."""
    return Owner.read({name.removeprefix(OWNER): value for name, value in tags.items() if name.startswith(OWNER)})


def stage_tags(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the tags with the key of each stage."""
    return {STAGE + name: key for name, key in keys.items()}


def dataset_tags(dataset: DatasetVersion) -> dict[str, str]:
    """Return the tags with the data version of a run or model version."""
    return {DATA: dataset.name, DATA_VERSION: dataset.digest}


def hardware_tags(trained: TrainedModel) -> dict[str, str]:
    """Return the tags with the hardware of a training."""
    rates = {PREFIX + "product_rates": canonical_json(dict(trained.product_rates))} if trained.product_rates else {}
    return {
        **rates,
        PREFIX + "device": trained.device,
        PREFIX + "precision": trained.precision,
        PREFIX + "precision_source": trained.precision_source,
        PREFIX + "threads": str(trained.threads),
        PREFIX + "processes": str(trained.processes),
        PREFIX + "shard": str(trained.shard).lower(),
    }


def commit_tags(root: Path) -> dict[str, str]:
    """Return the tags with the git commit and whether there are changes; empty outside git."""
    commit = git.commit(root)
    return _commit_tags(commit, changed=git.is_changed(root)) if commit else {}


def version_tags(
    evaluation: Evaluation, *, pipeline_key: str, run_id: str, experiment_id: str, digest: str, golden: str
) -> dict[str, str]:
    """Return the tags that a model version is created with."""
    metrics = {
        name: [round(figure, 6) for figure in (value.value, value.low, value.high)]
        for name, value in evaluation.metrics.items()
    }
    return {
        PIPELINE_KEY: pipeline_key,
        DIGEST: digest,
        GOLDEN: golden,
        RUN: run_id,
        EXPERIMENT: experiment_id,
        METRICS: canonical_json(metrics),
        **dataset_tags(evaluation.trained.report.dataset),
    }


def record_tags(commit: str, *, changed: bool, record: str, training_ids: str) -> dict[str, str]:
    """Return the tags with a version's commit and the digests of its record.

    Args:
        commit: of the code; empty outside git.
        changed: whether the code differed from the commit.
        record: SHA-256 of record.json.
        training_ids: SHA-256 of training_ids.npy.
    """
    code = _commit_tags(commit, changed=changed) if commit else {}
    return {RECORD: record, TRAINING_IDS: training_ids, **code}


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """Return the tags with a verdict. The gate's key is last: if it is set, all are."""
    return {
        DECISION: verdict.decision,
        BASELINE: str(verdict.baseline),
        VERDICT: _verdict_json(verdict),
        GATE_KEY: verdict.key,
    }


def moved_tags(*, overridden: bool, evidence: str) -> dict[str, str]:
    """Return the tags of a move that are written again when it is done."""
    return {MOVE + "overridden": "yes" if overridden else "no", MOVE + "evidence": evidence}


def _verdict_json(verdict: Verdict) -> str:
    """Return the verdict as JSON.

    If it exceeds a tag, remarks and passed checks are left out first, and omitted checks are counted.
    """
    ordered = sorted(verdict.checks, key=lambda check: check.passed)
    fixed: dict[str, Any] = {"decision": verdict.decision, "baseline": verdict.baseline}
    if verdict.changes is not None:
        fixed["changes"] = dataclasses.asdict(verdict.changes)
    complete = {**fixed, "checks": [_check_json(check) for check in verdict.checks], "remarks": list(verdict.remarks)}
    text = canonical_json(complete)
    for kept in range(len(ordered), -1, -1):
        if len(text) < LONGEST:
            break
        checks = [_check_json(check) for check in ordered[:kept]]
        text = canonical_json({**fixed, "checks": checks, "left_out": len(ordered) - kept})
    return text


def _check_json(check: Check) -> dict[str, Any]:
    fields = dataclasses.asdict(check)
    if check.passed or not check.hint:
        del fields["hint"]
    return fields


def _commit_tags(commit: str, *, changed: bool) -> dict[str, str]:
    # MLflow's tag too: the UI shows it as the run's version.
    return {COMMIT: f"{commit} with changes" if changed else commit, "mlflow.source.git.commit": commit}
