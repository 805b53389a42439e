"""Production moves by compare-and-set: proven first, then moved under a lock if nobody moved it meanwhile.

The lock is this machine's. MLflow's own alias call is an unconditional write, so with a shared server one machine
should promote a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Refused
from modelworks.locks import locked
from modelworks.registry import journal, versions
from modelworks.registry.failures import said_clearly
from modelworks.registry.proof import prove
from modelworks.registry.versions import PRODUCTION, Registered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from mlflow import MlflowClient

    from modelworks.project import Project
    from modelworks.registry.witness import Witness

__all__ = ["promote", "rollback", "settle"]


@said_clearly
def promote(
    client: MlflowClient,
    project: Project,
    name: str,
    version: int,
    *,
    expected: int | None,
    reason: str,
    who: str,
    evidence: Mapping[str, Any],
    force: bool = False,
    witness: Witness | None = None,
) -> int:
    """Make a version production; returns what is production then.

    Args:
        client: of the store.
        project: whose locks are taken.
        name: the registered model.
        version: the one to promote. If it is production already, nothing happens.
        expected: the production version that the decision was made against; 0 for none, None for whatever it is now.
        reason: for the journal.
        who: likewise.
        evidence: likewise; JSON values.
        force: promote although the gate did not say so; needs a reason.
        witness: a fresh process made earlier, to save the wait for its start.

    Raises:
        BadInput: no such version, or force without a reason.
        Refused: the gate did not say promote, production changed meanwhile, or the model does not say what it said.
        Corrupt: the package is not what was registered.
        Unavailable: a lock, the store or the fresh process is not to be had.
    """
    chosen = versions.get(client, name, version)
    settle(client, project, name)
    before = versions.production(client, name)
    if before == version:
        return version
    if force and not reason.strip():
        raise BadInput(f"promoting version {version} by force needs a reason", "give one: the journal keeps it")
    if chosen.decision != "promote" and not force:
        raise Refused(
            f"the gate's verdict on {name} version {version} is {chosen.decision or 'not given yet'}",
            "`modelworks why` says why; force with a reason overrules it",
        )
    if expected is not None and before != expected:
        raise _changed(name, expected, before)
    forced = force and chosen.decision != "promote"
    return _move(client, project, "promote", chosen, before, who, reason, forced, evidence, witness)


@said_clearly
def rollback(
    client: MlflowClient, project: Project, name: str, *, reason: str, who: str, witness: Witness | None = None
) -> int:
    """Make the version before the present one production again; returns it.

    Raises:
        BadInput: there is no such model.
        Refused: there is nothing to go back to, or production was moved by something else than this project.
        Corrupt, Unavailable: as for `promote`.
    """
    settle(client, project, name)
    before = versions.production(client, name)
    if not before:
        versions.all_of(client, name)  # says which models there are when this is none
        raise Refused(f"{name} has no production version", f"promote one first: modelworks promote {name}")
    moves = journal.history(client, name)
    last = next((move for move in moves if move.state == "done"), None)
    if last is None or last.after != before:
        raise Refused(
            f"the journal does not know how {name} version {before} became production: something else moved the alias",
            f"name the version to go to: modelworks promote {name} VERSION",
        )
    target = journal.previous(moves)
    if not target:
        raise Refused(
            f"{name} version {before} is the first production version: there is none to go back to", "promote another"
        )
    return _move(
        client, project, "rollback", versions.get(client, name, target), before, who, reason, False, {}, witness
    )


@said_clearly
def settle(client: MlflowClient, project: Project, name: str) -> tuple[journal.Move, ...]:
    """Finish or close the moves that dead processes of this machine left behind; returns them."""
    if not any(move.state == "intent" for move in journal.history(client, name)):
        return ()
    with _lock(project, name):
        return journal.settle(client, name)


def _move(
    client: MlflowClient,
    project: Project,
    kind: journal.Kind,
    chosen: Registered,
    before: int,
    who: str,
    why: str,
    forced: bool,
    evidence: Mapping[str, Any],
    witness: Witness | None,
) -> int:
    name, after = chosen.name, chosen.version
    move = journal.intend(
        client, name, kind=kind, before=before, after=after, who=who, why=why, forced=forced, evidence=evidence
    )
    try:
        proof = prove(client, chosen, witness)
        with _lock(project, name):
            now = versions.production(client, name)
            if now != before:
                raise _changed(name, before, now)
            client.set_registered_model_alias(name, PRODUCTION, str(after))
            journal.done(client, move, {**evidence, **proof})
    except Exception as error:
        # Also when the answer to the alias call was lost: then the alias has moved and the journal must not deny it.
        if versions.production(client, name) != after:
            journal.abandon(client, move, str(error))
        raise
    return after


def _changed(name: str, expected: int, found: int) -> Refused:
    return Refused(
        f"production of {name} changed meanwhile: expected {_named(expected)}, found {_named(found)}",
        "run again: the gate then compares with the new one",
    )


def _named(version: int) -> str:
    return f"version {version}" if version else "none"


def _lock(project: Project, name: str) -> AbstractContextManager[None]:
    return locked(project.locks / f"production-{name}.lock", f"moving production of {name}")
