"""Log the results of each stage to one MLflow run per pipeline run."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from modelworks.fault_injection import effect
from modelworks.registry.backend.error_mapping import maps_tracking_errors
from modelworks.registry.backend.idempotent_create import created
from modelworks.registry.backend.mlflow_internals import system_metrics_monitor
from modelworks.registry.backend.tracking_store import ensure_experiment
from modelworks.registry.tracking import run_description
from modelworks.registry.tracking import tags as lineage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mlflow import MlflowClient

    from modelworks.project import Project
    from modelworks.records import Evaluation, TrainedModel, ValidationReport, Verdict

__all__ = [
    "add_note",
    "finish",
    "log_config",
    "log_evaluation",
    "log_note",
    "log_report",
    "log_stage_keys",
    "log_training",
    "log_validation",
    "start",
    "system_metrics",
]

REPORTS = {"data_docs": "validation/data_docs", "evaluation_page": "evaluation"}
"""Artifact folder of each page."""
ATTEMPTS = 3
"""Attempts to create a run."""
LONGEST_PARAMETER = 6000
"""MLflow's limit in characters, as are those below."""
MOST_PARAMETERS = 100


@maps_tracking_errors
def start(
    client: MlflowClient,
    project: Project,
    *,
    experiment: str,
    parameters: Mapping[str, str],
    prefect_flow_run_id: str,
    prefect_url: str,
) -> str:
    """Start a run and return its id.

    Args:
        client: of the store.
        project: whose git commit is logged.
        experiment: its name; created if it does not exist. The run has this name until it registers a version.
        parameters: the config's leaves. Values above MLflow's limit are cut and end in "...".
        prefect_flow_run_id: empty for none.
        prefect_url: of the flow run's page; empty for none.
    """
    from mlflow.entities import Param

    tags = {
        **lineage.run_tags(pipeline=experiment, prefect_flow_run_id=prefect_flow_run_id, prefect_url=prefect_url),
        **lineage.commit_tags(project.root),
    }
    experiment_id = ensure_experiment(client, experiment)
    now = int(time.time() * 1000)

    def create() -> str:
        return str(client.create_run(experiment_id, start_time=now, tags=tags, run_name=experiment).info.run_id)

    def find() -> str | None:
        # A process starts one run at a time, and the tags identify the process.
        begun = client.search_runs([experiment_id], f"attributes.start_time = {now}")
        return next((str(run.info.run_id) for run in begun if tags.items() <= run.data.tags.items()), None)

    with effect("runs.start"):
        run_id = created(client, create, find, attempts=ATTEMPTS)  # a duplicate run is closed by `close_stale_runs`
    listed = [Param(name, _cut(value, LONGEST_PARAMETER)) for name, value in parameters.items()]
    for first in range(0, len(listed), MOST_PARAMETERS):
        client.log_batch(run_id, params=listed[first : first + MOST_PARAMETERS])
    return run_id


@contextmanager
def system_metrics(client: MlflowClient, run_id: str, *, seconds: float = 2.0) -> Iterator[None]:
    """Log this machine's CPU, memory, disk and network (and GPU, with nvidia-ml-py) to a run.

    An outage of the store stops the logging, not the block. A block shorter than the interval logs nothing.

    Args:
        client: of the store.
        run_id: of the run.
        seconds: interval between two samples.
    """
    monitor = system_metrics_monitor(run_id, seconds, client.tracking_uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


@maps_tracking_errors
def log_stage_keys(client: MlflowClient, run_id: str, keys: Mapping[str, str]) -> None:
    """Log the key of each stage as tags."""
    _set_tags(client, run_id, lineage.stage_tags(keys))


@maps_tracking_errors
def log_config(client: MlflowClient, run_id: str, text: str) -> None:
    """Log the complete config as YAML that can be run again; parameters may be cut."""
    with effect("runs.upload", "config"):
        client.log_text(run_id, text, "config.yaml")


@maps_tracking_errors
def log_validation(client: MlflowClient, run_id: str, report: ValidationReport) -> None:
    """Log the checks as a table, the quarantine as a file, and the row counts as metrics."""
    with effect("runs.upload", "validation"):
        client.log_table(
            run_id,
            {
                "check": [check.name for check in report.checks],
                "passed": ["yes" if check.passed else "no" for check in report.checks],
                "observed": [check.observed for check in report.checks],
                "required": [check.required for check in report.checks],
            },
            "validation/checks.json",
        )
        for name in ("report.json", "quarantine.json"):
            if (report.folder / name).is_file():
                client.log_artifact(run_id, str(report.folder / name), "validation")
    _log_figures(
        client,
        run_id,
        {**{f"rows/{name}": rows for name, rows in report.rows.items()}, "rows/quarantined": report.quarantined},
    )


@maps_tracking_errors
def log_training(client: MlflowClient, run_id: str, trained: TrainedModel) -> None:
    """Log size, speed and hardware; `MetricStream` logs the curves."""
    figures = {
        "training/parameters": trained.num_parameters,
        "training/steps": trained.num_steps,
        "training/total_seconds": trained.seconds,
        "training/mean_examples_per_second": trained.examples_per_second,
    }
    _log_figures(client, run_id, figures)
    _set_tags(client, run_id, lineage.hardware_tags(trained))


@maps_tracking_errors
def log_evaluation(client: MlflowClient, run_id: str, evaluation: Evaluation) -> None:
    """Log each metric with its interval (`_low`, `_high`) and baseline (`baseline_NAME`)."""
    figures: dict[str, float] = {}
    for name, value in evaluation.metrics.items():
        figures |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    figures |= {f"baseline_{name}": value for name, value in evaluation.baseline.items()}
    _log_figures(client, run_id, figures)


@maps_tracking_errors
def log_report(client: MlflowClient, run_id: str, name: str, folder: Path) -> None:
    """Upload a report page (see `pipeline.reports`), replacing an earlier one."""
    with effect("runs.upload", name):
        client.log_artifacts(run_id, str(folder), REPORTS[name])


@maps_tracking_errors
def log_note(client: MlflowClient, run_id: str, verdict: Verdict, production: int) -> None:
    """Set the run's description: verdict, metrics, data and production version."""
    add_note(client, run_id, run_description.write(verdict, production))


@maps_tracking_errors
def add_note(client: MlflowClient, run_id: str, text: str) -> None:
    """Append a text to a run's description."""
    before = client.get_run(run_id).data.tags.get(run_description.TAG, "").strip()
    if text not in before:
        client.set_tag(run_id, run_description.TAG, run_description.below(before, text))


@maps_tracking_errors
def finish(client: MlflowClient, run_id: str, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
    """Set the final status of a run."""
    with effect("runs.end"):
        client.set_terminated(run_id, status)


def _set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _log_figures(client: MlflowClient, run_id: str, figures: Mapping[str, float]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(name, float(value), now, 0) for name, value in figures.items()])


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
