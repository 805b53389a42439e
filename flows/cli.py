"""The command line: six verbs. Each prints one JSON object with --json and exits with the code of its error."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

if TYPE_CHECKING:
    from modelworks.errors import ModelworksError

__all__ = ["app", "main"]

CTRL_C = 130
"""The exit code that typer makes of it."""

app = typer.Typer(
    name="modelworks",
    help="Versioned data in at one end, a model that earned production out at the other.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing what draws boxes around the help would triple its time
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="a pipeline, e.g. configs/mnist_cnn.yaml", show_default=False)
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="override a field, e.g. train.epochs=3")
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="a registered model, e.g. mnist-cnn", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object; everything else goes to stderr")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="kept in the journal")]


@app.command()
def run(config: Config, overrides: Overrides = [], json: Json = False) -> None:  # noqa: B006  # typer copies it
    """Bring a pipeline up to date: do only what changed, resume what was cut off."""
    from flows.run import run as verb

    verb(config, overrides, as_json=json)


@app.command()
def why(
    target: Annotated[str, typer.Argument(metavar="CONFIG|MODEL", help="a config, or a model to explain a verdict")],
    version: Annotated[Optional[int], typer.Argument(help="of the model; the newest by default")] = None,  # noqa: UP045  # typer reads it
    overrides: Overrides = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Say what a run would do and which ingredient changed; or why the gate said what it said about a version."""
    from flows.why import why as verb

    verb(target, version, overrides, as_json=json)


@app.command()
def promote(
    model: Model,
    version: Annotated[Optional[int], typer.Argument(help="the newest that the gate accepted, by default")] = None,  # noqa: UP045
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="although the gate did not say so; needs --reason")] = False,
    json: Json = False,
) -> None:
    """Make a version production, after it was loaded in a fresh process and said what it said before."""
    from flows.production import promote as verb

    verb(model, version, reason, force=force, as_json=json)


@app.command()
def rollback(model: Model, reason: Reason = "", json: Json = False) -> None:
    """Make the production version before the present one production again."""
    from flows.production import rollback as verb

    verb(model, reason, as_json=json)


@app.command()
def history(
    model: Model,
    at: Annotated[
        str, typer.Option("--at", metavar="TIME", help="what was production then, e.g. 2026-11-22T14:00")
    ] = "",
    json: Json = False,
) -> None:
    """Every move of production: who, when, from, to and why."""
    from flows.production import history as verb

    verb(model, at, as_json=json)


@app.command()
def up(
    mlflow_port: Annotated[int, typer.Option(help="of MLflow's pages")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="of Prefect's pages")] = 4200,
    json: Json = False,
) -> None:
    """Serve the MLflow and Prefect pages and run what is scheduled, until Ctrl-C."""
    from flows.up import up as verb

    verb(mlflow_port, prefect_port, as_json=json)


@app.command()
def doctor(json: Json = False) -> None:
    """Check the installation, the stores and what a crash left behind; mend what is safe to mend."""
    from flows.doctor import doctor as verb

    verb(as_json=json)


def main() -> None:
    """Run the command line; turn every error of ours, and what stops it, into a message and an exit code."""
    from modelworks.errors import Interrupted, ModelworksError
    from modelworks.process import spare_imported_garbage

    signal.signal(signal.SIGTERM, _stop)
    spare_imported_garbage()
    try:
        app()
    except ModelworksError as error:
        _fail(error)
    except SystemExit as end:
        if end.code == CTRL_C:
            _fail(Interrupted(signal.SIGINT))
        raise


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind as from any error. During the flow Prefect answers SIGTERM first, and passes it on to here."""
    from modelworks.errors import Interrupted

    raise Interrupted(number)


def _fail(error: ModelworksError) -> NoReturn:
    from flows.output import print_error

    print_error(error)
    sys.exit(error.exit_code)
