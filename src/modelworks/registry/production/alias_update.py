"""One move of production as a compare-and-set, written down before and after.

    intent in the journal > digests > a fresh process > predictions > lock > alias as expected > move > done in the journal

MLflow's own alias call is an unconditional write: what makes it a compare-and-set is that whoever moves production
holds the same lock. `guard.machine_lock` and its siblings say who that can be.
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
    """Shows that a version is what it was, or raises; returns the evidence."""

__all__ = ["alone", "changed", "compare_and_set"]


def compare_and_set(client: MlflowClient, chosen: Registered, intent: Intent, lock: Lock, proof: Proof) -> Move:
    """Prove a version and make it production, if production is still what the intent was formed against.

    Raises:
        Refused: production was moved meanwhile; it says by whom.
        Exception: what the proof, the lock or the store raised; the journal has the move as abandoned then.
    """
    name, after = chosen.name, chosen.version
    entry = audit_log.intend(client, chosen, intent, lock.kind)
    moving = False
    try:
        shown = proof(client, chosen)
        with alone(lock, name):
            audit_log.settle(client, name)  # whoever died in here since we looked: the chain goes on from there
            now = queries.production(client, name)
            if now != intent.standing:
                raise changed(client, name, intent.standing, now)
            with effect("production.alias"):
                moving = True
                _point(client, name, after)
            return audit_log.done(
                client,
                name,
                entry,
                {**intent.evidence, **shown},
                overridden=intent.overridden or OTHER_LIBRARIES in shown,
            )
    except Exception as error:  # whatever it was, the intent does not stay open; it goes on to who asked
        # What has moved although the journal could not be told, the next command settles.
        if not moving or queries.production(client, name) != after:
            audit_log.abandon(client, entry, str(error))
        raise


def alone(lock: Lock, name: str) -> AbstractContextManager[None]:
    """Nobody else moves production of a model in this block."""
    return lock.hold(f"production-{name}", f"moving production of {name}")


def changed(client: MlflowClient, name: str, expected: int, found: int) -> Refused:
    """The error for production versions, 0 for none, that are not the expected ones; it names who moved there."""
    return Refused(
        f"production of {name} changed meanwhile: expected {queries.numbered(expected)}, found {queries.numbered(found)}, "
        f"{_mover(client, name, found)}",
        "run again: the gate then compares with the new one",
        code="production.changed",
    )


def _point(client: MlflowClient, name: str, version: int) -> None:
    """Set the alias. An answer that was lost is no failure: while we hold the lock, nobody else sets it there."""
    try:
        client.set_registered_model_alias(name, PRODUCTION, str(version))
    except Exception:  # whatever it was: where the alias stands says whether it failed
        if queries.production(client, name) != version:
            raise


def _mover(client: MlflowClient, name: str, version: int) -> str:
    """Who made a version production, as far as the journal knows."""
    newest = audit_log.last(client, name)
    if newest is not None and newest.after == version:
        return f"moved there by {newest.who} at {newest.when:%Y-%m-%d %H:%M:%S} UTC: {newest.kind}, {newest.why}"
    for move in audit_log.unfinished(client, name):
        if move.after == version:
            return f"where a {move.kind} by {move.who}, begun at {move.when:%Y-%m-%d %H:%M:%S} UTC, is moving it"
    return "moved there by something outside the journal"
