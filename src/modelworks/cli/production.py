"""`modelworks promote`, `rollback` and `history`: production moved by hand, and its journal."""

from __future__ import annotations

import dataclasses
import getpass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from modelworks.cli.output import print_json, print_table, print_warning
from modelworks.errors import BadInput
from modelworks.project import Project
from modelworks.registry.locks.machine import choose_lock, warning

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.files.locks import Lock
    from modelworks.registry.production.audit_log import Move

__all__ = ["history", "promote", "rollback", "warn_if_moved"]

COLUMNS = ("#", "when (UTC)", "move", "from", "to", "verdict", "state", "who", "reason")


def promote(model: str, version: int | None, reason: str, *, override: bool, as_json: bool) -> None:
    """Make a version production."""
    from modelworks.registry.production import promotion
    from modelworks.registry.verification import verify_version
    from modelworks.registry.versions import queries

    project, client, lock = _connect()
    chosen = version if version is not None else queries.newest_accepted(client, model)
    warn_if_moved(client, model)
    decision = queries.get(client, model, chosen).decision
    if override and reason.strip() and decision != "promote":
        said = f"said {decision!r} of it" if decision else "has not judged it"
        print_warning(f"OVERRIDE: {model} version {chosen} is to become production although the gate {said}: {reason}")
    move = promotion.promote(
        client,
        project,
        model,
        chosen,
        expected=queries.production(client, model),
        reason=reason if override else reason or "by hand",
        who=getpass.getuser(),
        evidence={},
        override=override,
        lock=lock,
        proof=partial(verify_version.prove, other_libraries=override),
    )
    _say(model, move, chosen, lock, as_json=as_json)


def rollback(model: str, reason: str, *, override: bool, as_json: bool) -> None:
    """Go back to the production version before."""
    from modelworks.registry.production import promotion
    from modelworks.registry.verification import verify_version
    from modelworks.registry.versions import queries

    project, client, lock = _connect()
    warn_if_moved(client, model)
    move = promotion.rollback(
        client,
        project,
        model,
        reason=reason if override else reason or "by hand",
        who=getpass.getuser(),
        override=override,
        lock=lock,
        proof=partial(verify_version.prove, other_libraries=override),
    )
    _say(model, move, queries.production(client, model), lock, as_json=as_json)


def history(model: str, at: str, *, as_json: bool) -> None:
    """Print the journal, newest first; or what was production at a time."""
    from modelworks.registry.production import audit_log
    from modelworks.registry.versions import queries

    _, client, _ = _connect()
    queries.all_of(client, model)  # says which models there are when this is none
    warn_if_moved(client, model)
    if at:
        then = audit_log.at(client, model, _time(at))
        if as_json:
            print_json({"model": model, "at": at, "production": then.after if then else None})
        elif then is None:
            print(f"{model}: production was none at {at}")
        else:
            since = f"since {then.when:%Y-%m-%d %H:%M:%S} UTC, {then.kind} by {then.who}"
            print(f"{model}: production was version {then.after} at {at} ({since})")
        return
    moves = audit_log.history(client, model)
    if as_json:
        print_json({"model": model, "moves": [_object(move) for move in moves]})
    elif not moves:
        print(f"{model}: production has never moved")
    else:
        print_table(COLUMNS, [_row(move) for move in moves])


def warn_if_moved(client: MlflowClient, model: str) -> None:
    """Say so when something outside the journal moved a model's production."""
    from modelworks.registry.production.alias_drift import find_alias_drift

    stray = find_alias_drift(client, model)
    if stray is not None:
        print_warning(stray.message, stray.hint)


def _connect() -> tuple[Project, MlflowClient, Lock]:
    """The project, its tracking store, and the lock that a move takes."""
    project = Project.find()
    project.enter()
    project.make_private_folders()
    from modelworks.registry.backend.tracking_store import connect

    lock = choose_lock(project)
    if flaw := warning(project, lock):
        print_warning(flaw)
    return project, connect(project), lock


def _say(model: str, move: Move | None, production: int, lock: Lock, *, as_json: bool) -> None:
    from modelworks.registry.versions.queries import numbered

    if as_json:
        before = move.before if move else production
        moved = move is not None and move.kind != "adopt"
        print_json(
            {"model": model, "from": before or None, "production": production, "moved": moved, "lock": lock.kind}
        )
    elif move is None:
        print(f"{model}: version {production} is production already")
    elif move.kind == "adopt":
        print(f"{model}: version {production}, which something else made production, is in the journal now")
    else:
        print(f"{model}: production moved from {numbered(move.before)} to {numbered(move.after)}, under {lock.kind}")


def _object(move: Move) -> dict[str, Any]:
    return {**dataclasses.asdict(move), "when": move.when.isoformat()}


def _row(move: Move) -> tuple[str, ...]:
    verdict = (move.verdict or "none") + (", OVERRIDDEN" if move.overridden else "")
    return (
        str(move.number or ""),
        f"{move.when:%Y-%m-%d %H:%M:%S}",
        move.kind,
        str(move.before or "none"),
        str(move.after),
        verdict,
        move.state,
        move.who,
        move.why + (f" (not done: {move.because.splitlines()[0]})" if move.because else ""),
    )


def _time(text: str) -> datetime:
    """A time of the journal, whose times are UTC; one with a zone is of that zone. A second is meant to its end."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        way_out = "e.g. 2026-11-22T14:00, which is UTC, or 2026-11-22T14:00+01:00"
        raise BadInput(f"--at {text}: not a time", way_out, code="arguments.not-a-time") from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return time if time.microsecond else time.replace(microsecond=999_999)  # `history` prints whole seconds
