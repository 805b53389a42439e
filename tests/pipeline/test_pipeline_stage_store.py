"""The stage store: nothing or the whole, verified when read, and clear about what the disk refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelworks.errors import BadInput, Unavailable
from modelworks.files.atomic_files import disk_errors, write_json
from modelworks.files.manifests import MANIFEST, read_manifest
from modelworks.pipeline.stage_store import GRACE_SECONDS, StageStore

KEY = "0123456789abcdef"


def write(store: StageStore, content: str = "whole") -> Path:
    with store.write("train", KEY, {"train.epochs": "3"}) as aside:
        (aside / "below").mkdir()
        (aside / "below" / "file").write_text(content)
    return store.folder("train", KEY)


def test_a_written_output_is_intact_and_knows_its_ingredients(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    assert store.state("train", KEY) == "absent"
    assert store.ingredients("train", KEY) is None
    folder = write(store)
    assert store.state("train", KEY) == "intact"
    assert store.ingredients("train", KEY) == {"train.epochs": "3"}
    manifest = read_manifest(folder)
    assert manifest is not None
    assert list(manifest["files"]) == ["below/file"]


def test_all_of_it_is_on_the_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut would take is what nobody asked the disk to keep."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    with StageStore(tmp_path).write("train", KEY, {}) as aside:
        (aside / "below").mkdir()
        (aside / "below" / "file").write_text("whole")
    when = done.index("renamed")
    parts = ("", "below", "below/file", MANIFEST)
    assert {str(aside / part) for part in parts} <= {*done[:when]}
    assert str(tmp_path / "train") in done[when:]


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    with pytest.raises(ZeroDivisionError), store.write("train", KEY, {}) as aside:
        _ = (aside / "file").write_text("half") / 0
    assert store.state("train", KEY) == "absent"
    assert list((tmp_path / "train").iterdir()) == []


def flip(folder: Path) -> None:
    path = folder / "below" / "file"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def remove(folder: Path) -> None:
    (folder / "below" / "file").unlink()


def add(folder: Path) -> None:
    (folder / "more").write_text("")


def forget(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def tear(folder: Path) -> None:
    os.truncate(folder / MANIFEST, 20)


@pytest.mark.parametrize("damage", [flip, remove, add, forget, tear])
def test_a_damaged_output_is_seen_and_replaced_by_the_next_write(tmp_path: Path, damage: object) -> None:
    store = StageStore(tmp_path)
    folder = write(store)
    assert callable(damage)
    damage(folder)
    assert store.state("train", KEY) == "damaged"
    write(store, "again")
    assert store.state("train", KEY) == "intact"
    assert (folder / "below" / "file").read_text() == "again"
    assert [path.name for path in (tmp_path / "train").iterdir()] == [KEY]


KILLED = """
import os, signal, sys
from pathlib import Path
from modelworks.pipeline.stage_store import StageStore

store, moment = StageStore(Path(sys.argv[1])), 0
store.write("train", "warm-up", {}).__enter__()  # imports done lazily are no moment of a write

def write():
    with store.write("train", "key", {}) as aside:
        (aside / "file").write_text("content")

def kill_at(moment):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event.startswith(("open", "os.", "shutil.", "tempfile.")):
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

states = []
while True:
    moment += 1
    child = os.fork()
    if child == 0:
        kill_at(moment)
        write()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    states.append(store.state("train", "key"))
    if not os.WIFSIGNALED(status):
        break
print(*states)
"""


@pytest.mark.parametrize("before", ["absent", "intact"])
def test_kill_9_at_any_moment_of_a_write_leaves_nothing_or_the_whole(tmp_path: Path, before: str) -> None:
    if before == "intact":
        with StageStore(tmp_path).write("train", "key", {}) as aside:
            (aside / "file").write_text("content")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    states = done.stdout.split()
    assert len(states) > 10, "the hook saw too few moments to say anything"
    assert set(states) <= {"absent", "intact"}
    assert states[0] == before
    assert states[-1] == "intact"


def age(folder: Path) -> None:
    past = time.time() - GRACE_SECONDS - 1
    os.utime(folder, (past, past))


def test_leftovers_of_killed_writers_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    write(store)
    dead = tmp_path / "train" / ".dead-1"
    dead.mkdir()
    (dead / "file").write_text("half")
    age(dead)
    young = tmp_path / "train" / ".young-1"
    young.mkdir()
    with store.write("train", "other", {}) as living:
        age(living)
        assert store.clear_leftovers() == 1
        assert living.is_dir()
    assert not dead.exists()
    assert young.exists()
    assert store.state("train", KEY) == store.state("train", "other") == "intact"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("in the way")
    with pytest.raises(BadInput, match=r"train.*in its way"):
        write(StageStore(tmp_path))


def test_a_disk_that_cannot_be_written_is_named() -> None:
    # The kernel lets nobody, root included, make folders there.
    with pytest.raises(BadInput, match=r"cannot write /sys/kernel/modelworks"):
        write(StageStore(Path("/sys/kernel/modelworks")))


def test_a_full_disk_can_be_tried_again_and_leaves_nothing(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    with pytest.raises(Unavailable, match="no space left"), store.write("train", KEY, {}):
        Path("/dev/full").write_text("content")
    assert list((tmp_path / "train").iterdir()) == []


def test_other_errors_of_the_system_are_not_dressed_up(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "missing").read_text()


def test_json_for_people_is_indented_and_refuses_what_is_no_json(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"a": "ü"})
    assert (tmp_path / "file.json").read_text() == '{\n "a": "ü"\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "other.json", float("inf"))
