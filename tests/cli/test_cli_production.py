"""`promote`, `rollback` and `history`: changes of production by hand and the audit log."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"


@pytest.fixture
def workspace(served_copy: Callable[[Path], Workspace], two_versions: Path) -> Workspace:
    """Return a project whose versions 1 and 2 are accepted; 2 is production."""
    return served_copy(two_versions)


@pytest.mark.slow
def test_rollback_and_promote_move_production_and_are_logged(workspace: Workspace, two_versions: Path) -> None:
    back = workspace.done("rollback", "digits-cnn", "--reason", "complaints")
    flock = "flock, among the processes of this machine"
    assert back == {"model": "digits-cnn", "from": 2, "production": 1, "moved": True, "lock": flock}
    assert workspace.production("digits-cnn") == 1

    # A run with nothing to do does not undo a manual change of production.
    changes = json.loads(two_versions.with_name("made.json").read_text())["changes"]
    summary = workspace.done("run", DIGITS, *changes)
    assert (summary["version"], summary["production"]) == (2, 1)
    assert set(summary["stages"].values()) == {"verified", "cached"}

    forward = workspace.run("promote", "digits-cnn")  # the newest accepted version
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
    assert production_at(lines[0][1]) == 2, "a time in the format of the table"
    assert production_at("0001-01-01T00:00+14:00") is None
    workspace = workspace.with_environment(TZ="America/New_York")
    assert production_at(moves[1]["when"].removesuffix("+00:00")) == 1, "UTC without a zone, as in the table"
    assert "production was none at 2001-01-01" in workspace.run("history", "digits-cnn", "--at", "2001-01-01").stdout


@pytest.mark.slow
def test_production_moved_in_mlflow_is_reported_until_it_is_in_the_audit_log(
    workspace: Workspace,
) -> None:
    workspace.client.set_registered_model_alias("digits-cnn", "production", "1")
    warning = "warning: production of digits-cnn is version 1, but "
    for command in (("history", "digits-cnn"), ("why", "digits-cnn"), ("rollback", "digits-cnn")):
        outcome = workspace.run(*command)
        assert warning in outcome.stderr
    assert (outcome.code, outcome.error_code) == (3, "production.moved-elsewhere")
    doctor = workspace.run("doctor", "--json")
    assert doctor.code == 3
    assert "production of digits-cnn is version 1" in doctor.stdout

    adopted = workspace.run("promote", "digits-cnn", "1", "--reason", "meant it")
    assert warning in adopted.stderr
    assert "version 1" in adopted.stdout
    assert workspace.run("history", "digits-cnn").stderr == ""
    newest, *_ = workspace.done("history", "digits-cnn")["moves"]
    assert (newest["kind"], newest["before"], newest["after"], newest["why"]) == ("adopt", 2, 1, "meant it")


@pytest.mark.slow
def test_override_needs_a_reason_and_prints_a_warning(workspace: Workspace) -> None:
    assert workspace.done("rollback", "digits-cnn")["production"] == 1
    workspace.client.set_model_version_tag("digits-cnn", "2", "modelworks.verdict", "reject")
    assert workspace.run("promote", "digits-cnn", "2").code == 3
    without = workspace.run("promote", "digits-cnn", "2", "--override")
    assert (without.code, without.error_code) == (2, "arguments.reason")
    overridden = workspace.run("promote", "digits-cnn", "2", "--override", "--reason", "the shop cannot wait")
    assert overridden.code == 0
    assert "OVERRIDE: promoting digits-cnn version 2 although the gate's verdict is 'reject'" in overridden.stderr
    assert "reject, OVERRIDDEN" in workspace.run("history", "digits-cnn").stdout
    assert workspace.done("history", "digits-cnn")["moves"][0]["overridden"] is True


def test_rollback_of_the_first_production_version_is_refused(
    served_copy: Callable[[Path], Workspace], digits: Path
) -> None:
    workspace = served_copy(digits)
    outcome = workspace.run("rollback", "digits-cnn")
    assert (outcome.code, outcome.error_code) == (3, "production.nothing-before")
    assert workspace.production("digits-cnn") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("promote", "digits-cn"), "model.unknown", "digits-cnn"),
        (("promote", "digits-cnn", "7"), "version.unknown", "1"),
        (("rollback", "nothing"), "model.unknown", "digits-cnn"),
        (("history", "digits-cnn", "--at", "yesterday"), "arguments.not-a-time", "2026-11-22T14:00"),
        (("why", DIGITS, "2"), "arguments.config-version", "modelworks why"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_argument_is_rejected_with_valid_ones_in_the_hint(
    served_copy: Callable[[Path], Workspace], digits: Path, arguments: tuple[str, ...], code: str, named: str
) -> None:
    workspace = served_copy(digits)
    outcome = workspace.run(*arguments, "--json")
    assert (outcome.code, outcome.error_code) == (2, code)
    assert len(outcome.complaint) == 2
    assert named in outcome.complaint[1]
    assert outcome.only_the_error
    assert "Traceback" not in outcome.stderr
    assert workspace.production("digits-cnn") == 1
