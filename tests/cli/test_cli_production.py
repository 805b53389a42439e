"""Production moved by hand from the command line, and its journal."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Workspace

DIGITS = "configs/digits_cnn.yaml"


@pytest.fixture
def workspace(copy: Callable[[Path], Workspace], two_versions: Path) -> Workspace:
    """Versions 1 and 2 are accepted, 2 is production."""
    return copy(two_versions)


def test_rollback_and_promote_move_production_and_are_written_down(workspace: Workspace, two_versions: Path) -> None:
    back = workspace.done("rollback", "digits-cnn", "--reason", "complaints")
    flock = "flock, among the processes of this machine"
    assert back == {"model": "digits-cnn", "from": 2, "production": 1, "moved": True, "lock": flock}
    assert workspace.production("digits-cnn") == 1

    # What a person did to production, a run with nothing to do leaves alone.
    changes = json.loads(two_versions.with_name("made.json").read_text())["changes"]
    summary = workspace.done("run", DIGITS, *changes)
    assert (summary["version"], summary["production"]) == (2, 1)
    assert set(summary["stages"].values()) == {"verified", "cached"}

    forward = workspace.run("promote", "digits-cnn")  # the newest that was accepted
    assert forward.stdout == f"digits-cnn: production moved from version 1 to version 2, under {flock}\n"
    assert forward.stderr == ""
    assert workspace.done("promote", "digits-cnn", "2")["moved"] is False
    assert workspace.run("promote", "digits-cnn", "2").stdout == "digits-cnn: version 2 is production already\n"

    moves = workspace.done("history", "digits-cnn")["moves"]
    assert [(move["kind"], move["before"], move["after"]) for move in moves] == [
        ("promote", 1, 2),
        ("rollback", 2, 1),
        ("promote", 1, 2),
        ("promote", 0, 1),
    ]
    assert {move["state"] for move in moves} == {"done"}
    assert moves[1]["why"] == "complaints"
    assert all(move["evidence"]["probe_rows"] > 0 for move in moves)
    assert all(move["lock"] == flock for move in moves)
    heading, *lines = (re.split("  +", line) for line in workspace.run("history", "digits-cnn").stdout.splitlines())
    assert heading == ["#", "when (UTC)", "move", "from", "to", "verdict", "state", "who", "reason"]
    assert len(lines) == 4
    number, _, *rest = lines[1]
    assert (number, *rest) == ("3", "rollback", "2", "1", "promote", "done", getpass.getuser(), "complaints")

    def production_at(time: str) -> int | None:
        return workspace.done("history", "digits-cnn", "--at", time)["production"]

    assert [production_at(move["when"]) for move in moves] == [2, 1, 2, 1]
    assert production_at(lines[0][1]) == 2, "a time as the table prints it"
    assert production_at("0001-01-01T00:00+14:00") is None
    workspace = workspace.with_environment(TZ="America/New_York")
    assert production_at(moves[1]["when"].removesuffix("+00:00")) == 1, "without a zone it is UTC, as in the table"
    assert "production was none at 2001-01-01" in workspace.run("history", "digits-cnn", "--at", "2001-01-01").stdout


def test_production_moved_in_mlflows_pages_is_reported_by_every_command_until_it_is_in_the_journal(
    workspace: Workspace,
) -> None:
    workspace.client.set_registered_model_alias("digits-cnn", "production", "1")
    said = "warning: production of digits-cnn is version 1, but version 2 in the audit log"
    for command in (("history", "digits-cnn"), ("why", "digits-cnn"), ("rollback", "digits-cnn")):
        outcome = workspace.run(*command)
        assert said in outcome.stderr
    assert outcome.code == 3
    assert "the alias was moved outside modelworks" in outcome.complaint[0]
    doctor = workspace.run("doctor", "--json")
    assert doctor.code == 3
    assert "production of digits-cnn is version 1" in doctor.stdout

    adopted = workspace.run("promote", "digits-cnn", "1", "--reason", "meant it")
    assert said in adopted.stderr
    assert "version 1, which something else made production, is in the journal now" in adopted.stdout
    assert workspace.run("history", "digits-cnn").stderr == ""
    newest, *_ = workspace.done("history", "digits-cnn")["moves"]
    assert (newest["kind"], newest["before"], newest["after"], newest["why"]) == ("adopt", 2, 1, "meant it")


def test_the_gate_is_overruled_loudly_and_only_with_a_reason(workspace: Workspace) -> None:
    assert workspace.done("rollback", "digits-cnn")["production"] == 1
    workspace.client.set_model_version_tag("digits-cnn", "2", "modelworks.verdict", "reject")
    assert workspace.run("promote", "digits-cnn", "2").code == 3
    without = workspace.run("promote", "digits-cnn", "2", "--override")
    assert without.code == 2
    assert "--override requires a --reason" in without.complaint[0]
    loud = workspace.run("promote", "digits-cnn", "2", "--override", "--reason", "the shop cannot wait")
    assert loud.code == 0
    assert "OVERRIDE: digits-cnn version 2 is to become production although the gate said 'reject' of it" in loud.stderr
    assert "reject, OVERRIDDEN" in workspace.run("history", "digits-cnn").stdout
    assert workspace.done("history", "digits-cnn")["moves"][0]["overridden"] is True


def test_with_nothing_to_go_back_to_rollback_is_refused(copy: Callable[[Path], Workspace], digits: Path) -> None:
    workspace = copy(digits)
    outcome = workspace.run("rollback", "digits-cnn")
    assert outcome.code == 3
    assert "version 1 is the first production version" in outcome.complaint[0]
    assert workspace.production("digits-cnn") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("promote", "digits-cn"), "no registered model 'digits-cn'"),
        (("promote", "digits-cnn", "7"), "digits-cnn has no version 7"),
        (("rollback", "nothing"), "no registered model 'nothing'"),
        (("history", "digits-cnn", "--at", "yesterday"), "--at yesterday: not a time"),
        (("why", DIGITS, "2"), "a config has no versions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_does_not_exist_is_named_with_what_does(
    copy: Callable[[Path], Workspace], digits: Path, arguments: tuple[str, ...], said: str
) -> None:
    workspace = copy(digits)
    outcome = workspace.run(*arguments, "--json")
    assert outcome.code == 2
    assert said in outcome.complaint[0]
    assert len(outcome.complaint) == 2
    assert outcome.only_the_error
    assert "Traceback" not in outcome.stderr
    assert workspace.production("digits-cnn") == 1
