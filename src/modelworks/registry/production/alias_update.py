"""Move the production alias with compare-and-set, logged before and after.

    log the intent > verify digests > predict in an isolated process > lock > compare the alias > move it > log the result

MLflow's alias call is an unconditional write. It becomes a compare-and-set because every process that moves production
holds the same lock, see `locks.machine.choose_lock`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelworks.errors import Refused
from modelworks.fault_injection import effect
from modelworks.registry.production import audit_log
from modelworks.registry.verification.verify_version import OTHER_LIBRARIES
from modelworks.registry.versions import queries
from modelworks.registry.versions.queries import PRODUCTION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from mlflow import MlflowClient

    from modelworks.files.locks import Lock
    from modelworks.registry.production.audit_log import Intent, Move
    from modelworks.registry.versions.queries import Registered

    Proof = Callable[[MlflowClient, Registered], Mapping[str, Any]]
    """Verifies a version or raises; returns the evidence."""

__all__ = ["alone", "changed", "compare_and_set"]


def compare_and_set(client: MlflowClient, chosen: Registered, intent: Intent, lock: Lock, proof: Proof) -> Move:
    """Verify a version and make it production, if production is still the expected version.

    Raises:
        Refused: production was moved meanwhile; the message names who moved it.
        Exception: from the proof, the lock or the store; the audit log then has the move as abandoned.
    """
    name, after = chosen.name, chosen.version
    entry = audit_log.intend(client, chosen, intent, lock.kind)
    moving = False
    try:
        verified = proof(client, chosen)
        with alone(lock, name):
            audit_log.settle(client, name)  # complete moves of processes that died meanwhile
            now = queries.production(client, name)
            if now != intent.expected:
                raise changed(client, name, intent.expected, now)
            with effect("production.alias"):
                moving = True
                _point(client, name, after)
            return audit_log.done(
                client,
                name,
                entry,
                {**intent.evidence, **verified},
                overridden=intent.overridden or OTHER_LIBRARIES in verified,
            )
    except Exception as error:  # abandon the intent and raise again
        # If the alias moved but the audit log could not be written, the next command completes it.
        if not moving or queries.production(client, name) != after:
            audit_log.abandon(client, entry, str(error))
        raise


def alone(lock: Lock, name: str) -> AbstractContextManager[None]:
    """Hold the lock for moving production of a model."""
    return lock.hold(f"production-{name}", f"moving production of {name}")


def changed(client: MlflowClient, name: str, expected: int, found: int) -> Refused:
    """Return the error for an unexpected production version (0 for none); it names who moved it."""
    return Refused(
        f"production of {name} changed meanwhile: expected {queries.numbered(expected)}, found {queries.numbered(found)}, "
        f"{_mover(client, name, found)}",
        "run again: the gate compares with the new production version",
        code="production.changed",
    )


def _point(client: MlflowClient, name: str, version: int) -> None:
    """Set the alias; ignore a lost reply if the alias was set, which only this process can do."""
    try:
        client.set_registered_model_alias(name, PRODUCTION, str(version))
    except Exception:  # the alias shows whether the call failed
        if queries.production(client, name) != version:
            raise


def _mover(client: MlflowClient, name: str, version: int) -> str:
    """Return who made a version production, according to the audit log."""
    newest = audit_log.last(client, name)
    if newest is not None and newest.after == version:
        return f"moved there by {newest.who} at {newest.when:%Y-%m-%d %H:%M:%S} UTC: {newest.kind}, {newest.why}"
    for move in audit_log.unfinished(client, name):
        if move.after == version:
            return f"being moved there by {move.who} since {move.when:%Y-%m-%d %H:%M:%S} UTC: {move.kind}"
    return "moved there outside modelworks"
