"""What moves production: a promotion, a rollback, and the settling of moves that dead processes left behind."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Refused
from modelworks.registry.backend.error_mapping import said_clearly
from modelworks.registry.locks.machine import choose_lock
from modelworks.registry.production import alias_drift, audit_log
from modelworks.registry.production.alias_update import alone, changed, compare_and_set
from modelworks.registry.production.audit_log import Intent
from modelworks.registry.verification.verify_version import prove
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

    from modelworks.files.locks import Lock
    from modelworks.project import Project
    from modelworks.registry.production.alias_update import Proof
    from modelworks.registry.production.audit_log import Move

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
        lock: that all who move production of this store share; the project's by default.
        proof: that the version is what was registered and says what it said.

    Raises:
        BadInput: no such version, or override without a reason.
        Refused: the gate did not say promote, production changed meanwhile, or the model does not say what it said.
        Corrupt: the package is not what was registered.
        Unavailable: a lock, the store or the fresh process is not to be had.
    """
    lock = lock or choose_lock(project)
    chosen = queries.get(client, name, version)
    settle(client, project, name, lock=lock)
    before, stray = queries.production(client, name), alias_drift.unexplained(client, name)
    if before == version and stray is None:
        return None
    _check_override(override, reason, f"promoting {name} version {version}")
    if chosen.decision != "promote" and not override:
        raise Refused(
            f"the gate's verdict on {name} version {version} is {chosen.decision or 'not given yet'}",
            f"`modelworks why {shlex.quote(name)} {version}` says why; --override with a --reason overrules it",
            code="production.not-accepted",
        )
    if expected is not None and before not in (expected, version):
        raise changed(client, name, expected, before)
    adopted = stray is not None and before == version
    return compare_and_set(
        client,
        chosen,
        Intent(
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
    lock = lock or choose_lock(project)
    settled = settle(client, project, name, lock=lock)
    before = queries.production(client, name)
    if not before:
        queries.all_of(client, name)  # says which models there are when this is none
        raise Refused(
            f"{name} has no production version", alias_drift.promotion_hint(client, name), code="production.none"
        )
    _check_override(override, reason, f"rolling {name} back")
    if any(move.kind == "rollback" and move.after == before for move in settled):
        return None
    stray = alias_drift.unexplained(client, name)
    if stray is not None:
        raise Refused(
            f"the journal does not know how {name} version {before} became production: something else moved the alias",
            stray.way_out,
            code="production.moved-elsewhere",
        )
    moves = audit_log.history(client, name)
    stands = next((move.after for move in moves if move.state == "done"), 0)
    if stands != before:  # somebody moved it while we looked
        raise changed(client, name, before, stands)
    target = audit_log.previous(moves, {each.version for each in queries.all_of(client, name)})
    if not target:
        raise Refused(
            f"{name} version {before} is the first production version: there is none to go back to",
            "promote another",
            code="production.nothing-before",
        )
    chosen = queries.get(client, name, target)
    intent = Intent(kind="rollback", before=before, standing=before, who=who, why=reason, overridden=False, evidence={})
    return compare_and_set(client, chosen, intent, lock, proof)


@said_clearly
def settle(client: MlflowClient, project: Project, name: str, *, lock: Lock | None = None) -> tuple[Move, ...]:
    """Finish or close the moves that dead processes left behind; returns them as they were found."""
    if not audit_log.cut_off(client, name):
        return ()
    with alone(lock or choose_lock(project), name):
        return audit_log.settle(client, name)


def _check_override(override: bool, reason: str, purpose: str) -> None:
    if override and not reason.strip():
        raise BadInput(
            f"{purpose} by --override needs a --reason", "give one: the journal keeps it", code="arguments.reason"
        )
