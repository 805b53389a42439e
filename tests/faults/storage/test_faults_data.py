"""Pinning and pushing data is completed after a kill at any point."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelworks.data.dvc_storage import dvc_file, object_cache
from modelworks.data.erasure import forgotten
from modelworks.errors import Corrupt
from modelworks.fault_injection import VARIABLE
from modelworks.project import Project

KILLS = 12
"""Number of kills, at random among some hundreds of events."""

RECORD = """
import json, os, random, signal, sys
from pathlib import Path

from dvc.repo import Repo  # before the forks, which then need not import it
from modelworks.data.dvc_storage import dvc_file
from modelworks.data import versioning
from modelworks.project import Project

project, chosen = Project(Path(sys.argv[1])), json.loads(sys.argv[2])

def attempt(event_number, place):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.link", "os.chmod", "shutil.copyfile"):
            seen += 1
            at_pin = event == "open" and str(arguments[0]).endswith("data.dvc") and str(arguments[1])[:1] in "wx"
            if seen == event_number or (place == "pin" and at_pin):
                if at_pin:
                    os.truncate(arguments[0], 0) if os.path.exists(arguments[0]) else os.mknod(arguments[0])
                os.kill(os.getpid(), signal.SIGKILL)
    if event_number or place:
        sys.addaudithook(hook)
    versioning.record(project)
    os._exit(0)

print(json.dumps([[attempt(event_number, place), dvc_file.read(project)] for event_number, place in chosen]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    (project.root / "configs").mkdir(parents=True)
    project.make_private_folders()
    write(project, "first")
    return project


def write(project: Project, content: str) -> str:
    """Write data/; return the digest of its pin."""
    folder = project.data / "some"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"{content} {number}")
    return object_cache.listing_digest(object_cache.subtree(project.data))


def record(project: Project, attempts: list[tuple[int, str]]) -> list[tuple[int, str | None]]:
    """Pin and push data/, killed at each event in turn; return the exit codes and pins."""
    result = subprocess.run(
        [sys.executable, "-c", RECORD, str(project.root), json.dumps(attempts)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [tuple(each) for each in json.loads(result.stdout)]


def test_pin_and_push_are_completed_after_a_kill(project: Project) -> None:
    draw = random.Random(0)
    old, events = write(project, "first"), sorted(draw.sample(range(1, 250), KILLS))
    ((code, pin),) = record(project, [(0, "")])
    assert (code, pin) == (0, old)
    new = write(project, "second")

    ends = record(project, [*((event_number, "") for event_number in events), (0, "")])

    assert sum(code == -9 for code, _ in ends) > KILLS // 2, "most kills came too late"
    assert {pin for _, pin in ends} <= {old, new}
    assert ends[-1] == (0, new)
    remote = project.state / "dvc-remote" / "files" / "md5"
    for md5 in (new, *object_cache.subtree(project.data).values()):
        assert (remote / md5[:2] / md5[2:]).is_file()


@pytest.mark.parametrize("pinned_before", [True, False])
def test_kill_while_dvc_writes_the_pin_keeps_the_old_pin(project: Project, pinned_before: bool) -> None:
    before = None
    if pinned_before:
        ((_, before),) = record(project, [(0, "")])
    new = write(project, "second")
    killed, after = record(project, [(0, "pin"), (0, "")])
    assert killed == (-9, before), "the incomplete file must be read as the old pin"
    assert after == (0, new)
    assert not list(project.state.glob("data.dvc.*"))


@pytest.mark.parametrize("incomplete", ["", "outs:\n", "outs:\n- md5: 0123456789ab", "outs:\n- md5: 7\n  path: data\n"])
def test_incomplete_pin_is_corrupt(project: Project, incomplete: str) -> None:
    (project.root / "data.dvc").write_text(incomplete)
    with pytest.raises(Corrupt, match=r"data\.dvc") as caught:
        dvc_file.read(project)
    assert caught.value.code == "data.pin-damaged"


FORGET = """
import sys
from pathlib import Path
from modelworks.data.erasure import Forgotten, add
from modelworks.project import Project

add(Project(Path(sys.argv[1])), [Forgotten(id=sys.argv[2] * 64, when="2026-11-22T14:00:00+00:00", who="me", reason="asked")])
"""


@pytest.mark.parametrize(("place", "known"), [("forget.before_write", "a"), ("forget.after_write", "ab")])
def test_kill_while_rows_are_forgotten_leaves_the_old_or_new_list(project: Project, place: str, known: str) -> None:
    def forget(letter: str, fault: str = "") -> int:
        return subprocess.run(
            [sys.executable, "-c", FORGET, str(project.root), letter],
            env={**os.environ, VARIABLE: fault},
            capture_output=True,
            check=False,
        ).returncode

    assert forget("a") == 0
    assert forget("b", place) == -signal.SIGKILL
    assert [row.id[0] for row in forgotten(project)] == list(known)
    assert forget("b") == 0
    assert [row.id[0] for row in forgotten(project)] == ["a", "b"]
