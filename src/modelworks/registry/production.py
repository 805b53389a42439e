"""Production moves by compare-and-set: written down, proven, and moved under a lock if nobody moved it meanwhile.

    intent in the journal > digests > a fresh process > predictions > lock > alias as expected > move > done in the journal

MLflow's own alias call is an unconditional write: what makes it a compare-and-set is that whoever moves production
holds the same lock. `guard.machine_lock` and its siblings say who that can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Refused
from modelworks.faults import fault_point
from modelworks.registry import journal, moved, versions
from modelworks.registry.failures import said_clearly
from modelworks.registry.guard import machine_lock
from modelworks.registry.proof import OTHER_LIBRARIES, prove
from modelworks.registry.versions import PRODUCTION, Registered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from mlflow import MlflowClient

    from modelworks.locks import Lock
    from modelworks.project import Project
    from modelworks.registry.journal import Move

    Proof = Callable[[MlflowClient, Registered], Mapping[str, Any]]
    """Shows that a version is what it was, or raises; returns the evidence."""

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
    override: bool = False,
    lock: Lock | None = None,
    proof: Proof = prove,
) -> Move | None:
    """Make a version production; returns the move, None when it is production already.

    A version that something outside the journal made production is adopted: it goes the whole road, and the journal
    knows it then.

    Args:
        client: of the store.
        project: whose lock is taken when none is given.
        name: the registered model.
        version: the one to promote.
        expected: the production version that the decision was made against; 0 for none, None for whatever it is now.
        reason: for the journal.
        who: likewise.
        evidence: likewise; JSON values.
        override: promote although the gate did not say so; needs a reason.
        lock: that all who move production of this store share; this machine's by default.
        proof: that the version is what was registered and says what it said.

    Raises:
        BadInput: no such version, or override without a reason.
        Refused: the gate did not say promote, production changed meanwhile, or the model does not say what it said.
        Corrupt: the package is not what was registered.
        Unavailable: a lock, the store or the fresh process is not to be had.
    """
    lock = lock or machine_lock(project)
    chosen = versions.get(client, name, version)
    settle(client, project, name, lock=lock)
    before, stray = versions.production(client, name), moved.unexplained(client, name)
    if before == version and stray is None:
        return None
    _check_override(override, reason, f"promoting {name} version {version}")
    if chosen.decision != "promote" and not override:
        raise Refused(
            f"the gate's verdict on {name} version {version} is {chosen.decision or 'not given yet'}",
            f"`modelworks why {name} {version}` says why; --override with a --reason overrules it",
        )
    if expected is not None and before not in (expected, version):
        raise _changed(client, name, expected, before)
    adopted = stray is not None and before == version
    return _move(
        client,
        chosen,
        _Intent(
            kind="adopt" if adopted else "promote",
            before=stray.left if stray is not None and adopted else before,
            standing=before,
            who=who,
            why=reason,
            overridden=override and chosen.decision != "promote",
            evidence=evidence,
        ),
        lock,
        proof,
    )


@said_clearly
def rollback(
    client: MlflowClient,
    project: Project,
    name: str,
    *,
    reason: str,
    who: str,
    override: bool = False,
    lock: Lock | None = None,
    proof: Proof = prove,
) -> Move | None:
    """Make the version before the present one production again, by the same road as `promote`.

    Returns the move; None when it only had to be written down, because a rollback was killed after it had moved.

    Raises:
        BadInput: there is no such model, or override without a reason.
        Refused: there is nothing to go back to, or production was moved by something else than this project.
        Corrupt, Unavailable: as for `promote`.
    """
    lock = lock or machine_lock(project)
    settled = settle(client, project, name, lock=lock)
    before = versions.production(client, name)
    if not before:
        versions.all_of(client, name)  # says which models there are when this is none
        raise Refused(f"{name} has no production version", f"promote one first: modelworks promote {name}")
    _check_override(override, reason, f"rolling {name} back")
    if any(move.kind == "rollback" and move.after == before for move in settled):
        return None
    stray = moved.unexplained(client, name)
    if stray is not None:
        raise Refused(
            f"the journal does not know how {name} version {before} became production: something else moved the alias",
            f"name the version to go to: modelworks promote {name} VERSION",
        )
    moves = journal.history(client, name)
    stands = next((move.after for move in moves if move.state == "done"), 0)
    if stands != before:  # somebody moved it while we looked
        raise _changed(client, name, before, stands)
    target = journal.previous(moves)
    if not target:
        raise Refused(
            f"{name} version {before} is the first production version: there is none to go back to", "promote another"
        )
    chosen = versions.get(client, name, target)
    intent = _Intent(
        kind="rollback", before=before, standing=before, who=who, why=reason, overridden=False, evidence={}
    )
    return _move(client, chosen, intent, lock, proof)


@said_clearly
def settle(client: MlflowClient, project: Project, name: str, *, lock: Lock | None = None) -> tuple[Move, ...]:
    """Finish or close the moves that dead processes left behind; returns them as they were found."""
    if not journal.cut_off(client, name):
        return ()
    with _alone(lock or machine_lock(project), name):
        return journal.settle(client, name)


@dataclass(frozen=True, kw_only=True)
class _Intent:
    """What is to be moved, and why."""

    kind: journal.Kind
    before: int
    """For the journal: where its last move ended."""
    standing: int
    """Where the alias is, and must still be when it moves."""
    who: str
    why: str
    overridden: bool
    evidence: Mapping[str, Any]


def _move(client: MlflowClient, chosen: Registered, intent: _Intent, lock: Lock, proof: Proof) -> Move:
    name, after = chosen.name, chosen.version
    entry = journal.intend(
        client,
        name,
        kind=intent.kind,
        before=intent.before,
        after=after,
        who=intent.who,
        why=intent.why,
        verdict=chosen.decision,
        overridden=intent.overridden,
        lock=lock.kind,
        evidence=intent.evidence,
    )
    moving = False
    try:
        shown = proof(client, chosen)
        with _alone(lock, name):
            journal.settle(client, name)  # whoever died in here since we looked: the chain goes on from there
            now = versions.production(client, name)
            if now != intent.standing:
                raise _changed(client, name, intent.standing, now)
            fault_point("production.before_alias")
            moving = True
            _point(client, name, after)
            fault_point("production.after_alias")
            return journal.done(
                client,
                name,
                entry,
                {**intent.evidence, **shown},
                overridden=intent.overridden or OTHER_LIBRARIES in shown,
            )
    except Exception as error:
        # What has moved although the journal could not be told, the next command settles.
        if not moving or versions.production(client, name) != after:
            journal.abandon(client, entry, str(error))
        raise


def _point(client: MlflowClient, name: str, version: int) -> None:
    """Set the alias. An answer that was lost is no failure: while we hold the lock, nobody else sets it there."""
    try:
        client.set_registered_model_alias(name, PRODUCTION, str(version))
    except Exception:
        if versions.production(client, name) != version:
            raise


def _alone(lock: Lock, name: str) -> AbstractContextManager[None]:
    return lock.hold(f"production-{name}", f"moving production of {name}")


def _check_override(override: bool, reason: str, purpose: str) -> None:
    if override and not reason.strip():
        raise BadInput(f"{purpose} by --override needs a --reason", "give one: the journal keeps it")


def _changed(client: MlflowClient, name: str, expected: int, found: int) -> Refused:
    return Refused(
        f"production of {name} changed meanwhile: expected {_named(expected)}, found {_named(found)}, "
        f"{_mover(client, name, found)}",
        "run again: the gate then compares with the new one",
    )


def _mover(client: MlflowClient, name: str, version: int) -> str:
    """Who made a version production, as far as the journal knows."""
    newest = journal.last(client, name)
    if newest is not None and newest.after == version:
        return f"moved there by {newest.who} at {newest.when:%Y-%m-%d %H:%M:%S} UTC: {newest.kind}, {newest.why}"
    for move in journal.unfinished(client, name):
        if move.after == version:
            return f"where a {move.kind} by {move.who}, begun at {move.when:%Y-%m-%d %H:%M:%S} UTC, is moving it"
    return "moved there by something outside the journal"


def _named(version: int) -> str:
    return f"version {version}" if version else "none"
