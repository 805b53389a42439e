"""`modelworks promote`, `rollback` and `history`: production moved by hand, and its journal."""

from __future__ import annotations

import dataclasses
import getpass
import os
from datetime import datetime
from typing import TYPE_CHECKING

from flows.output import print_json
from modelworks.errors import BadInput
from modelworks.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["history", "promote", "rollback"]


def promote(model: str, version: int | None, reason: str, *, force: bool, as_json: bool) -> None:
    """Make a version production."""
    from modelworks.registry import production, versions

    project, client = _connect()
    chosen = version if version is not None else versions.newest_accepted(client, model)
    before = versions.production(client, model)
    now = production.promote(
        client,
        project,
        model,
        chosen,
        expected=before,
        reason=reason or ("" if force else "by hand"),
        who=getpass.getuser(),
        evidence={},
        force=force,
    )
    _say(model, before, now, as_json=as_json)


def rollback(model: str, reason: str, *, as_json: bool) -> None:
    """Go back to the production version before."""
    from modelworks.registry import production, versions

    project, client = _connect()
    before = versions.production(client, model)
    now = production.rollback(client, project, model, reason=reason or "by hand", who=getpass.getuser())
    _say(model, before, now, as_json=as_json)


def history(model: str, at: str, *, as_json: bool) -> None:
    """Print the journal, newest first; or what was production at a time."""
    from modelworks.registry import journal, versions

    _, client = _connect()
    versions.all_of(client, model)  # says which models there are when this is none
    if at:
        version = journal.at(client, model, _time(at))
        if as_json:
            print_json({"model": model, "at": at, "production": version or None})
        else:
            print(f"{model}: production was {f'version {version}' if version else 'none'} at {at}")
        return
    moves = journal.history(client, model)
    if as_json:
        print_json(
            {"model": model, "moves": [{**dataclasses.asdict(move), "when": move.when.isoformat()} for move in moves]}
        )
        return
    if not moves:
        print(f"{model}: production has never moved")
    for move in moves:
        before = f"version {move.before}" if move.before else "none"
        forced = ", forced" if move.forced else ""
        print(
            f"{move.when:%Y-%m-%d %H:%M:%S}  {move.kind:<8}  {before} -> version {move.after}  {move.state}{forced}  {move.who}: {move.why}"
        )


def _connect() -> tuple[Project, MlflowClient]:
    project = Project.find()
    os.environ |= {name: value for name, value in project.environment().items() if name not in os.environ}
    project.make_private_folders()
    from modelworks.registry.store import connect

    return project, connect(project)


def _say(model: str, before: int, now: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, "from": before or None, "production": now, "moved": before != now})
    elif before == now:
        print(f"{model}: version {now} is production already")
    else:
        print(f"{model}: production moved from {f'version {before}' if before else 'none'} to version {now}")


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise BadInput(f"--at {text}: not a time", "e.g. 2026-11-22T14:00 or 2026-11-22T14:00+00:00") from None
