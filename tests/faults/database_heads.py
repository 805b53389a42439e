"""Newest schema revisions of MLflow's and Prefect's databases."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


@cache
def mlflow_head() -> str:
    """Return the newest revision of the installed MLflow."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())


@cache
def prefect_head() -> str:
    """Return the newest SQLite revision of the installed Prefect, read from its migrations."""
    import importlib.util

    spec = importlib.util.find_spec("prefect")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"
    text = [path.read_text() for path in folder.glob("*.py")]
    found = {
        name: set(re.findall(rf'^{name}(?::[^=\n]*)? = "(\w+)"', "\n".join(text), re.MULTILINE))
        for name in ("revision", "down_revision")
    }
    (head,) = found["revision"] - found["down_revision"]
    return head
