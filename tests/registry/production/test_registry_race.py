"""Concurrent promotions and rollbacks, with and without the lock. `make race` runs more."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from programs.race import violations

from modelworks.registry.production.audit_log import Move

RACE = Path(__file__).parents[2] / "programs" / "race.py"


def run_race(*arguments: str) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, str(RACE), "--json", *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.stdout, result.stderr
    table: dict[str, Any] = json.loads(result.stdout)
    assert result.returncode == bool(table["violations"])
    return table


@pytest.mark.slow
def test_concurrent_promotions_and_rollbacks_are_serialized() -> None:
    table = run_race("--processes", "4", "--attempts", "12")
    assert table["violations"] == []
    assert table["attempts"] == 48
    assert table["moved"] + table["changed meanwhile"] + table["nothing to do"] == 48
    assert table["moved"] >= 6


@pytest.mark.slow
def test_race_without_the_lock_is_detected() -> None:
    table = run_race("--processes", "4", "--attempts", "12", "--lock", "none")
    assert table["violations"], "four processes without a lock did not collide"


def move(number: int, before: int, after: int) -> Move:
    return Move(
        id=str(number),
        number=number,
        kind="promote",
        before=before,
        after=after,
        who="",
        why="",
        verdict="promote",
        overridden=False,
        lock="",
        evidence={},
        state="done",
        because="",
        when=datetime.fromtimestamp(number, UTC),
        owner=None,
    )


@pytest.mark.parametrize(
    ("moves", "alias", "reported", "expected"),
    [
        ([move(1, 0, 1), move(2, 1, 2)], 2, [(0, 1), (1, 2)], ""),
        ([move(1, 0, 1), move(2, 0, 2)], 2, [(0, 1), (0, 2)], "move 2 is from 0 to 2, but production was 1"),
        ([move(1, 0, 1), move(1, 0, 2)], 2, [(0, 1), (0, 2)], "should be number 2 is number 1"),
        ([move(1, 0, 1)], 2, [(0, 1)], "production is 2, but the audit log ends at 1"),
        ([move(1, 0, 1)], 1, [(0, 1), (1, 1)], "reported 1 times more"),
        ([move(1, 0, 1)], 1, [], "was logged 1 times more"),
        ([replace(move(0, 0, 1), state="intent")], 0, [], "was left open"),
    ],
)
def test_inconsistent_history_is_reported(
    moves: list[Move], alias: int, reported: list[tuple[int, int]], expected: str
) -> None:
    found = "; ".join(violations(moves, alias, reported))
    assert expected in found
    assert bool(found) == bool(expected)
