"""The command line: each command prints one JSON object with --json."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

if TYPE_CHECKING:
    from modelworks.errors import ModelworksError

__all__ = ["app", "main"]

CTRL_C = 130
"""The exit code that typer uses for Ctrl-C."""

app = typer.Typer(
    name="modelworks",
    help="Train, evaluate and promote models from versioned data.",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich for the help would triple its time
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
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="written to the audit log")]
Version = Annotated[
    str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="production by default", show_default=False)
]
Number = Annotated[Optional[int], typer.Argument(metavar="[VERSION]", help="by number", show_default=False)]  # noqa: UP045
Override = Annotated[
    bool,
    typer.Option("--override", help="ignore the gate's verdict and differing library versions; requires --reason"),
]


@app.command()
def run(
    config: Config,
    overrides: Overrides = [],  # noqa: B006  # typer copies it
    print_config: Annotated[
        bool, typer.Option("--print-config", help="print the config with every default filled in, and run nothing")
    ] = False,
    json: Json = False,
) -> None:
    """Bring a pipeline up to date: run the stages that changed, resume an interrupted training."""
    if print_config:
        from modelworks.cli.print_config import print_config as show

        show(config, overrides, as_json=json)
        return
    from modelworks.cli.run import run as verb

    verb(config, overrides, as_json=json)


@app.command()
def why(
    target: Annotated[str, typer.Argument(metavar="CONFIG|MODEL", help="a config, or a model to explain a verdict")],
    version: Annotated[Optional[int], typer.Argument(help="the model's version; the newest by default")] = None,  # noqa: UP045  # typer reads it
    overrides: Overrides = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Show what a run would do and which ingredient changed, or explain a version's verdict."""
    from modelworks.cli.why import why as verb

    verb(target, version, overrides, as_json=json)


@app.command()
def promote(
    model: Model,
    version: Annotated[Optional[int], typer.Argument(help="by default the newest that the gate accepted")] = None,  # noqa: UP045
    reason: Reason = "",
    override: Override = False,
    json: Json = False,
) -> None:
    """Make a version production after an isolated process reproduces its golden predictions."""
    from modelworks.cli.production import promote as verb

    verb(model, version, reason, override=override, as_json=json)


@app.command()
def rollback(model: Model, reason: Reason = "", override: Override = False, json: Json = False) -> None:
    """Make the previous production version production again."""
    from modelworks.cli.production import rollback as verb

    verb(model, reason, override=override, as_json=json)


@app.command()
def history(
    model: Model,
    at: Annotated[
        str,
        typer.Option(
            "--at", metavar="TIME", help="show production at that time, e.g. 2026-11-22T14:00; UTC unless it has a zone"
        ),
    ] = "",
    json: Json = False,
) -> None:
    """List every change of production: time, from, to, verdict, user and reason."""
    from modelworks.cli.production import history as verb

    verb(model, at, as_json=json)


@app.command()
def rebuild(
    model: Version,
    version: Number = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="fail at once if the installed libraries differ from the recorded ones")
    ] = False,
    json: Json = False,
) -> None:
    """Train a version again from its record and compare every tensor and prediction."""
    from modelworks.cli.rebuild import rebuild as verb

    verb(model, version, strict=strict, as_json=json)


@app.command()
def trace(
    model: Version = "",
    version: Number = None,
    row: Annotated[
        str, typer.Option("--row", metavar="ID", help="instead of a version: list the versions trained on this row")
    ] = "",
    json: Json = False,
) -> None:
    """Show a version's lineage from its source to production, or the versions trained on a row."""
    from modelworks.cli.trace import trace as verb

    verb(model, version, row, as_json=json)


@app.command()
def forget(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="row ids or their prefixes", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="written to forgotten.json")] = "",
    json: Json = False,
) -> None:
    """Exclude rows from every future data version."""
    from modelworks.cli.forget import forget as verb

    verb(ids, reason, as_json=json)


@app.command()
def up(
    mlflow_port: Annotated[int, typer.Option(help="port of the MLflow UI")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="port of the Prefect UI")] = 4200,
    json: Json = False,
) -> None:
    """Serve the MLflow and Prefect UIs and run scheduled pipelines until Ctrl-C."""
    from modelworks.servers.up import up as verb

    verb(mlflow_port, prefect_port, as_json=json)


@app.command()
def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", help="production by default", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="other than loopback only with token, hosts and origins set")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any free port")] = 5001,
    json: Json = False,
) -> None:
    """Verify a version's files and serve its predictions over HTTP until Ctrl-C."""
    from modelworks.servers.serve import serve as verb

    verb(model, host, port, as_json=json)


@app.command()
def doctor(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be repaired and change nothing")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="read and verify every stored byte; may take long")] = False,
    json: Json = False,
) -> None:
    """Check the installation and the stores; repair what can be repaired safely."""
    from modelworks.cli.doctor.doctor import doctor as verb

    verb(dry_run=dry_run, deep=deep, as_json=json)


def main() -> None:
    """Run the command line; turn errors and signals into a message and an exit code."""
    from modelworks.errors import Interrupted, ModelworksError
    from modelworks.process import rare_garbage_collection
    from modelworks.servers.no_proxy import bypass_proxy_for_loopback

    signal.signal(signal.SIGTERM, _stop)
    bypass_proxy_for_loopback(os.environ)
    # Our own log messages; Prefect keeps other libraries' messages from the console.
    logging.getLogger("modelworks").addHandler(logging.StreamHandler())
    try:
        with rare_garbage_collection():  # a command imports its libraries when it needs them
            app()
    except ModelworksError as error:
        _fail(error)
    except Exception:  # a bug of ours: print the traceback without secrets
        from modelworks.redaction import redacted

        sys.stderr.write(redacted(traceback.format_exc()))
        sys.exit(1)
    except SystemExit as end:
        if end.code == CTRL_C:
            _fail(Interrupted(signal.SIGINT))
        raise


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """Raise `Interrupted`; during a flow Prefect handles SIGTERM first and then calls this."""
    from modelworks.errors import Interrupted

    raise Interrupted(number)


def _fail(error: ModelworksError) -> NoReturn:
    from modelworks.cli.output import print_error, print_json

    print_error(error)
    if "--json" in sys.argv and not error.reported:
        fields = {"code": error.code, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        print_json({"error": fields})
    sys.exit(error.exit_code)
