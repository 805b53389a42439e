"""Prefect 3.8's server as an ASGI app; `prefect server start` is the public way.

That command answers 6 to 12 s later and has no place for the check of Host and Origin (ARCHITECTURE.md has the figures).
`tests/contracts/test_contracts_prefect_3_8.py` has a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["prefect_app"]


def prefect_app(*, services: bool) -> FastAPI:
    """Return the app, set up by the PREFECT_ variables of this process.

    Args:
        services: also run Prefect's services, such as schedules and late runs.
    """
    from prefect.server.api.server import create_app

    return create_app(ephemeral=not services, final=True)
