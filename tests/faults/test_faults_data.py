"""Data under DVC, killed at any moment of being pinned and pushed: the next one pins the same bytes."""

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
"""Moments of some hundreds; each attempt costs a fork."""

RECORD = """
import json, os, random, signal, sys
from pathlib import Path

from dvc.repo import Repo  # before the forks, which then cost little
from modelworks.data.dvc_storage import dvc_file
from modelworks.data import versioning
from modelworks.project import Project

project, chosen = Project(Path(sys.argv[1])), json.loads(sys.argv[2])

def attempt(moment, place):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.link", "os.chmod", "shutil.copyfile"):
            seen += 1
            at_pin = event == "open" and str(arguments[0]).endswith("data.dvc") and str(arguments[1])[:1] in "wx"
            if seen == moment or (place == "pin" and at_pin):
                if at_pin:
                    os.truncate(arguments[0], 0) if os.path.exists(arguments[0]) else os.mknod(arguments[0])
                os.kill(os.getpid(), signal.SIGKILL)
    if moment or place:
        sys.addaudithook(hook)
    versioning.record(project)
    os._exit(0)

print(json.dumps([[attempt(moment, place), dvc_file.read(project)] for moment, place in chosen]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    (project.root / "configs").mkdir(parents=True)
    project.make_private_folders()
    write(project, "first")
    return project


def write(project: Project, content: str) -> str:
    """Fill data/ anew; returns the digest that a pin of it has."""
    folder = project.data / "some"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"{content} {number}")
    return object_cache.listing_digest(object_cache.subtree(project.data))


def record(project: Project, attempts: list[tuple[int, str]]) -> list[tuple[int, str | None]]:
    """Pin and push data/, killed at each of some moments in turn; the exit codes and the pins after each."""
    done = subprocess.run(
        [sys.executable, "-c", RECORD, str(project.root), json.dumps(attempts)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(each) for each in json.loads(done.stdout)]


def test_killed_at_many_moments_of_a_pin_and_a_push_the_next_one_pins_and_pushes_the_whole(project: Project) -> None:
    draw = random.Random(0)
    old, moments = write(project, "first"), sorted(draw.sample(range(1, 250), KILLS))
    ((code, pin),) = record(project, [(0, "")])
    assert (code, pin) == (0, old)
    new = write(project, "second")

    ends = record(project, [*((moment, "") for moment in moments), (0, "")])

    assert sum(code == -9 for code, _ in ends) > KILLS // 2, "the moments came too late to say anything"
    assert {pin for _, pin in ends} <= {old, new}
    assert ends[-1] == (0, new)
    remote = project.state / "dvc-remote" / "files" / "md5"
    for md5 in (new, *object_cache.subtree(project.data).values()):
        assert (remote / md5[:2] / md5[2:]).is_file()


@pytest.mark.parametrize("pinned_before", [True, False])
def test_a_kill_while_dvc_writes_the_pin_in_place_leaves_the_pin_before(project: Project, pinned_before: bool) -> None:
    before = None
    if pinned_before:
        ((_, before),) = record(project, [(0, "")])
    new = write(project, "second")
    killed, after = record(project, [(0, "pin"), (0, "")])
    assert killed == (-9, before), "the torn file must be read as the pin before it"
    assert after == (0, new)
    assert not list(project.state.glob("data.dvc.*"))


@pytest.mark.parametrize("torn", ["", "outs:\n", "outs:\n- md5: 0123456789ab", "outs:\n- md5: 7\n  path: data\n"])
def test_a_pin_that_nobody_was_writing_is_said_to_be_torn(project: Project, torn: str) -> None:
    (project.root / "data.dvc").write_text(torn)
    with pytest.raises(Corrupt, match=r"data\.dvc is not what DVC writes"):
        dvc_file.read(project)


FORGET = """
import sys
from pathlib import Path
from modelworks.data.erasure import Forgotten, add
from modelworks.project import Project

add(Project(Path(sys.argv[1])), [Forgotten(id=sys.argv[2] * 64, when="2026-11-22T14:00:00+00:00", who="me", reason="asked")])
"""


@pytest.mark.parametrize(("place", "known"), [("forget.before_write", "a"), ("forget.after_write", "ab")])
def test_a_kill_while_rows_are_forgotten_leaves_the_list_before_or_after(
    project: Project, place: str, known: str
) -> None:
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
