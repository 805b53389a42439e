"""What a finished run comes to: one JSON object for programs, the same for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelworks.records import Promotion

__all__ = ["summarise"]


def summarise(
    promotion: Promotion, outcomes: Mapping[str, str], prefect_flow_run_id: str, seconds: float
) -> dict[str, Any]:
    """The run as JSON values.

    Args:
        outcomes: what became of each stage: ran, cached, resumed, verified.
        prefect_flow_run_id: empty when there was nothing to do.
        seconds: wall time of the whole run.
    """
    verdict = promotion.verdict
    version = verdict.version
    evaluation = version.evaluation
    trained = evaluation.trained
    report = trained.report
    return {
        "model": version.name,
        "version": version.version,
        "verdict": verdict.decision,
        "reasons": list(verdict.reasons),
        "remarks": list(verdict.remarks),
        "production": promotion.production or None,
        "metrics": {
            name: {"value": found.value, "low": found.low, "high": found.high, "confidence": found.confidence}
            for name, found in evaluation.metrics.items()
        },
        "baseline": dict(evaluation.baseline),
        "data": report.dataset.name,
        "data_version": report.dataset.digest,
        "rows": dict(report.rows),
        "quarantined": report.quarantined,
        "warnings": list(report.warnings),
        "checks": {check.name: check.passed for check in report.checks},
        "hardware": {
            "device": trained.device,
            "precision": trained.precision,
            "precision_source": trained.precision_source,
            "product_rates": dict(trained.product_rates),
            "threads": trained.threads,
            "processes": trained.processes,
        },
        "mlflow_run_id": version.run_id,
        "mlflow_experiment_id": version.experiment_id,
        "prefect_flow_run_id": prefect_flow_run_id or None,
        "stages": dict(outcomes),
        "seconds": round(seconds, 2),
    }
