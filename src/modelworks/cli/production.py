"""`modelworks promote`, `rollback` and `history`: change production and show the audit log."""

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
        verdict = f"the gate's verdict is {decision!r}" if decision else "it has no verdict"
        print_warning(f"OVERRIDE: promoting {model} version {chosen} although {verdict}: {reason}")
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
    _print_move(model, move, chosen, lock, as_json=as_json)


def rollback(model: str, reason: str, *, override: bool, as_json: bool) -> None:
    """Make the previous production version production again."""
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
    _print_move(model, move, queries.production(client, model), lock, as_json=as_json)


def history(model: str, at: str, *, as_json: bool) -> None:
    """Print the audit log, newest first, or the production version at a given time."""
    from modelworks.registry.production import audit_log
    from modelworks.registry.versions import queries

    _, client, _ = _connect()
    queries.all_of(client, model)  # raises an error that lists the models if this one does not exist
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
    """Warn if a model's production alias was moved without an entry in the audit log."""
    from modelworks.registry.production.alias_drift import find_alias_drift

    stray = find_alias_drift(client, model)
    if stray is not None:
        print_warning(stray.message, stray.hint)


def _connect() -> tuple[Project, MlflowClient, Lock]:
    """Return the project, its tracking store, and the lock for changes of production."""
    project = Project.find()
    project.enter()
    project.make_private_folders()
    from modelworks.registry.backend.tracking_store import connect

    lock = choose_lock(project)
    if flaw := warning(project, lock):
        print_warning(flaw)
    return project, connect(project), lock


def _print_move(model: str, move: Move | None, production: int, lock: Lock, *, as_json: bool) -> None:
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
        print(f"{model}: version {production}, which was made production outside modelworks, is now in the audit log")
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
    """Parse a time, UTC unless it has a zone.

    A time without microseconds means the end of that second.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        hint = "use e.g. 2026-11-22T14:00 (UTC) or 2026-11-22T14:00+01:00"
        raise BadInput(f"--at {text}: not a time", hint, code="arguments.not-a-time") from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return time if time.microsecond else time.replace(microsecond=999_999)  # `history` prints whole seconds
