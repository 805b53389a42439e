"""Promote, roll back, and complete moves of dead processes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Refused
from modelworks.registry.backend.error_mapping import maps_tracking_errors
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


@maps_tracking_errors
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
    """Make a version production; return the move, or None if it is production already.

    A version that was made production outside modelworks is adopted: it is verified and added to the audit log.

    Args:
        client: of the store.
        project: whose lock is used if `lock` is None.
        name: the registered model.
        version: the version to promote.
        expected: the production version that the gate compared with; 0 for none, None to accept any.
        reason: for the audit log.
        who: for the audit log.
        evidence: JSON values for the audit log.
        override: promote without the gate's acceptance; requires a reason.
        lock: shared by all processes that move production of this store.
        proof: verifies the version.

    Raises:
        BadInput: no such version, or override without a reason.
        Refused: the gate did not accept it, production changed meanwhile, or the predictions differ.
        Corrupt: the package differs from what was registered.
        Unavailable: a lock, the store or the isolated process is not available.
    """
    lock = lock or choose_lock(project)
    chosen = queries.get(client, name, version)
    settle(client, project, name, lock=lock)
    before, drift = queries.production(client, name), alias_drift.find_alias_drift(client, name)
    if before == version and drift is None:
        return None
    _check_override(override, reason, f"promoting {name} version {version}")
    _check_verdict(chosen, override)
    if expected is not None and before not in (expected, version):
        raise changed(client, name, expected, before)
    adopted = drift is not None and before == version
    intent = Intent(
        kind="adopt" if adopted else "promote",
        before=drift.left if drift is not None and adopted else before,
        expected=before,
        who=who,
        why=reason,
        overridden=override and chosen.decision != "promote",
        evidence=evidence,
    )
    return compare_and_set(client, chosen, intent, lock, proof)


def _check_verdict(chosen: queries.Registered, override: bool) -> None:
    """Refuse a version that the gate did not accept, unless its verdict is overridden."""
    if chosen.decision != "promote" and not override:
        raise Refused(
            f"the gate's verdict on {chosen.name} version {chosen.version} is {chosen.decision or 'not given yet'}",
            f"see `modelworks why {shlex.quote(chosen.name)} {chosen.version}`; --override with a --reason promotes it"
            " anyway",
            code="production.not-accepted",
        )


@maps_tracking_errors
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
    """Make the previous production version production again, verified as in `promote`.

    Returns the move; None if it only completed the entry of a rollback that was killed after it had moved.

    Raises:
        BadInput: there is no such model, or override without a reason.
        Refused: there is no previous version, or production was moved outside modelworks.
        Corrupt, Unavailable: as in `promote`.
    """
    lock = lock or choose_lock(project)
    completed = settle(client, project, name, lock=lock)
    before = queries.production(client, name)
    if not before:
        queries.all_of(client, name)  # raises if there is no such model
        raise Refused(
            f"{name} has no production version", alias_drift.promotion_hint(client, name), code="production.none"
        )
    _check_override(override, reason, f"rolling {name} back")
    if any(move.kind == "rollback" and move.after == before for move in completed):
        return None
    drift = alias_drift.find_alias_drift(client, name)
    if drift is not None:
        raise Refused(
            f"the audit log does not have that {name} version {before} became production: the alias was moved outside modelworks",
            drift.hint,
            code="production.moved-elsewhere",
        )
    moves = audit_log.history(client, name)
    recorded = next((move.after for move in moves if move.state == "done"), 0)
    if recorded != before:  # moved meanwhile
        raise changed(client, name, before, recorded)
    target = audit_log.previous(moves, {each.version for each in queries.all_of(client, name)})
    if not target:
        raise Refused(
            f"{name} version {before} is the first production version: there is no previous one",
            "promote another version",
            code="production.nothing-before",
        )
    chosen = queries.get(client, name, target)
    intent = Intent(kind="rollback", before=before, expected=before, who=who, why=reason, overridden=False, evidence={})
    return compare_and_set(client, chosen, intent, lock, proof)


@maps_tracking_errors
def settle(client: MlflowClient, project: Project, name: str, *, lock: Lock | None = None) -> tuple[Move, ...]:
    """Complete or abandon the moves of dead processes; return them as they were found."""
    if not audit_log.cut_off(client, name):
        return ()
    with alone(lock or choose_lock(project), name):
        return audit_log.settle(client, name)


def _check_override(override: bool, reason: str, purpose: str) -> None:
    if override and not reason.strip():
        raise BadInput(
            f"{purpose} with --override requires a --reason",
            "add --reason TEXT: it is stored in the audit log",
            code="arguments.reason",
        )
