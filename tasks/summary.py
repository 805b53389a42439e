"""The summary of a finished run, as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelworks.records import Promotion

__all__ = ["summarise"]


def summarise(
    promotion: Promotion, outcomes: Mapping[str, str], prefect_flow_run_id: str, seconds: float
) -> dict[str, Any]:
    """Return the run's summary as JSON values.

    Args:
        promotion: the record of the last stage.
        outcomes: the outcome of each stage: ran, cached, resumed, verified.
        prefect_flow_run_id: empty if there was nothing to do.
        seconds: wall time of the run.
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
