"""MLflow's scoring server over a package: what `mlflow models serve` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp

__all__ = ["make_app"]


def make_app(package: Path) -> ASGIApp:
    """The app over a verified package, its model loaded: `POST /invocations` and `GET /ping`."""
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    return cast("ASGIApp", scoring_server.init(mlflow.pyfunc.load_model(str(package))))
