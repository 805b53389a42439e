"""Undocumented names, messages and classes of MLflow 3.17 that modelworks uses.

`tests/contracts/test_contracts_mlflow_3_17.py` has a test for each, `tests/registry/packaging/test_registry_load_note.py`
for the file that MLflow writes when it loads a model.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from modelworks.files.digest import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

__all__ = [
    "DELETED",
    "EXECUTED",
    "LOAD_NOTE",
    "LOAD_NOTE_KEYS",
    "SERVING",
    "dataset_schema",
    "silence_logs",
    "system_metrics_monitor",
]

DELETED = ("must be in the 'active' state", "Run with id=")
"""Parts of MLflow's messages about a deleted run or experiment, which have no error code."""

SERVING = "serving.py"
"""The file in a package that MLflow executes."""
EXECUTED: Mapping[str, Any] = {
    "loader_module": "mlflow.pyfunc.loaders.code_model",
    "model_code_path": SERVING,
    "artifacts": {"model": {"path": "artifacts/model", "uri": "artifacts/model"}},
    "code": None,
}
"""The entries of the python_function flavor in MLmodel that decide what MLflow imports and runs."""
LOAD_NOTE = "registered_model_meta"
"""MLflow writes this file next to MLmodel when it loads a models:/ URI, also in a local artifact store.

It is not part of a package and is never read: `integrity.remove_load_note` deletes it from a fetched package.
"""
LOAD_NOTE_KEYS = frozenset({"model_name", "model_version"})
"""All keys of that YAML file."""


def dataset_schema(columns: Mapping[str, str]) -> str:
    """Return a data set's schema for MLflow's UI; `mlflow.data` needs the rows to make it.

    Args:
        columns: name and MLflow type of each column.
    """
    described = [{"type": kind, "name": name, "required": True} for name, kind in columns.items()]
    return canonical_json({"mlflow_colspec": described})


def system_metrics_monitor(run_id: str, seconds: float, tracking_uri: str) -> SystemMetricsMonitor:
    """Return a monitor that logs system metrics; MLflow's public API needs an active run."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    return SystemMetricsMonitor(run_id, sampling_interval=seconds, tracking_uri=tracking_uri)


def silence_logs() -> None:
    """Silence MLflow's logs of migrations. Call it after importing MLflow, which sets levels."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs a traceback for a full or locked database and raises too; our error reports it in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
