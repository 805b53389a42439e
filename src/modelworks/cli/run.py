"""`modelworks run`: run the training flow under a Prefect server, unless nothing changed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from modelworks.cli.output import print_json, print_summary
from modelworks.config import run_config as configuration
from modelworks.errors import BadInput, Interrupted, Refused, Unavailable, first_line
from modelworks.evaluation import evaluate
from modelworks.pipeline.plan import STAGES
from modelworks.pipeline.status import PipelineStatus, pipeline_status
from modelworks.project import Project
from modelworks.redaction import without_password
from modelworks.registry.tracking.stale_runs import close_when_done
from modelworks.registry.verification.stored_files import check_quickly
from tasks.display import make_display
from tasks.summary import summarise

__all__ = ["run"]

FORBIDDEN = (401, 403)
BUSY = (408, 429)
"""HTTP status codes below 500 that do not mean that the request is wrong."""


def run(config: Path, overrides: Sequence[str], *, as_json: bool) -> None:
    """Bring a pipeline up to date and print the summary.

    Raises:
        Refused: the gate did not accept the version; all stages were run.
        Corrupt: nothing is to be done, but files of the production version are missing from the artifact store.
    """
    started = time.monotonic()
    project = Project.find()
    settings = configuration.load(config, overrides)
    project.enter()
    project.make_private_folders()
    found = pipeline_status(project, settings)
    if found.promotion is not None and found.nothing_to_do:
        outcomes = {"ingest": "verified", **dict.fromkeys(STAGES[1:], "cached")}
        summary = summarise(found.promotion, outcomes, "", time.monotonic() - started)
        close_when_done(project, settings.name)
        if found.promotion.production:
            check_quickly(project, settings.name, found.promotion.production)
        print("nothing to do: data, config, code and libraries have not changed since the last run", file=sys.stderr)
    else:
        summary = _flow(project, config, overrides, found)
    summary["seconds"] = round(time.monotonic() - started, 2)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary, _links(project, summary))
    # A version that was promoted with --override is not an error.
    if summary["verdict"] != "promote" and summary["production"] != summary["version"]:
        name, version = summary["model"], summary["version"]
        raise Refused(
            f"the gate's verdict is {summary['verdict']}: {name} version {version} did not become production",
            f"run `modelworks why {name} {version}` to see the checks",
            code="gate.not-promoted",
        ).after_output()


def _flow(project: Project, config: Path, overrides: Sequence[str], found: PipelineStatus) -> dict[str, Any]:
    """Run the flow in this process, with a running Prefect server or one started for this run.

    Raises:
        BadInput: the server rejects our credentials.
        Interrupted: the flow run was cancelled in Prefect.
        Unavailable: the server keeps failing after the retries of Prefect's client.
    """
    from modelworks.servers.prefect_client import answers, serving_address, start_server

    url = serving_address(project)
    server = start_server(project) if url is None else None
    os.environ["PREFECT_API_URL"] = server.url if server else str(url)
    # The server takes seconds to start; import the stages' libraries meanwhile.
    with make_display().working("start"):
        from modelworks.registry.backend.tracking_store import connect

        connect(project)
        from flows.training import training

        if found.reasons["validate"]:
            from modelworks.validation import expectation_suite

            expectation_suite.preload()
        if server is not None:
            if found.reasons["score"] and not answers(server.url):
                evaluate.preload()
            server.wait()
    from httpx import HTTPError, HTTPStatusError
    from prefect.exceptions import CancelledRun

    try:
        return cast("dict[str, Any]", training(os.path.relpath(config.resolve(), project.root), list(overrides)))
    except CancelledRun:
        raise Interrupted(signal.SIGINT, "a cancellation in Prefect") from None
    except HTTPError as error:
        address = without_password(os.environ["PREFECT_API_URL"])
        reason = first_line(error)
        status = error.response.status_code if isinstance(error, HTTPStatusError) else None
        if status in FORBIDDEN:
            raise BadInput(
                f"Prefect's server {address} refuses: {reason}",
                "set PREFECT_API_AUTH_STRING or PREFECT_API_KEY, or ask its administrator for access",
                code="prefect.refused",
            ) from error
        if status is not None and status < 500 and status not in BUSY:
            raise  # the request was wrong: a bug of ours
        raise Unavailable(
            f"Prefect's server {address} fails: {reason}",
            "check the server's log and run again: finished stages are kept",
            code="prefect.failing",
        ) from error


def _links(project: Project, summary: dict[str, Any]) -> dict[str, str]:
    links = {"MLflow": project.mlflow_page(summary["mlflow_experiment_id"], summary["mlflow_run_id"])}
    if summary["prefect_flow_run_id"]:
        links["Prefect"] = project.prefect_page(summary["prefect_flow_run_id"])
    return {**links, "": "`modelworks up` serves both pages"}
