"""The stage store writes atomically, verifies when read, and reports disk errors."""

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


def write(store: StageStore, content: str = "complete") -> Path:
    with store.write("train", KEY, {"train.epochs": "3"}) as temporary:
        (temporary / "below").mkdir()
        (temporary / "below" / "file").write_text(content)
    return store.folder("train", KEY)


def test_written_output_is_intact_and_has_its_ingredients(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    assert store.state("train", KEY) == "absent"
    assert store.ingredients("train", KEY) is None
    folder = write(store)
    assert store.state("train", KEY) == "intact"
    assert store.ingredients("train", KEY) == {"train.epochs": "3"}
    manifest = read_manifest(folder)
    assert manifest is not None
    assert list(manifest["files"]) == ["below/file"]


def test_files_are_synced_before_the_rename_and_the_parent_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut loses whatever was not synced."""
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        calls.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        calls.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    with StageStore(tmp_path).write("train", KEY, {}) as temporary:
        (temporary / "below").mkdir()
        (temporary / "below" / "file").write_text("complete")
    when = calls.index("renamed")
    parts = ("", "below", "below/file", MANIFEST)
    assert {str(temporary / part) for part in parts} <= {*calls[:when]}
    assert str(tmp_path / "train") in calls[when:]


def test_error_while_writing_leaves_no_files(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    with pytest.raises(ZeroDivisionError), store.write("train", KEY, {}) as temporary:
        _ = (temporary / "file").write_text("half") / 0
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
def test_damaged_output_is_detected_and_replaced(tmp_path: Path, damage: object) -> None:
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

store, event_number = StageStore(Path(sys.argv[1])), 0
store.write("train", "warm-up", {}).__enter__()  # lazy imports are not part of a write

def write():
    with store.write("train", "key", {}) as temporary:
        (temporary / "file").write_text("content")

def kill_at(event_number):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event.startswith(("open", "os.", "shutil.", "tempfile.")):
            seen += 1
            if seen == event_number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

states = []
while True:
    event_number += 1
    child = os.fork()
    if child == 0:
        kill_at(event_number)
        write()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    states.append(store.state("train", "key"))
    if not os.WIFSIGNALED(status):
        break
print(*states)
"""


@pytest.mark.parametrize("before", ["absent", "intact"])
def test_kill_during_a_write_leaves_no_output_or_a_complete_one(tmp_path: Path, before: str) -> None:
    if before == "intact":
        with StageStore(tmp_path).write("train", "key", {}) as temporary:
            (temporary / "file").write_text("content")
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    states = result.stdout.split()
    assert len(states) > 10, "the hook saw too few events"
    assert set(states) <= {"absent", "intact"}
    assert states[0] == before
    assert states[-1] == "intact"


def age(folder: Path) -> None:
    past = time.time() - GRACE_SECONDS - 1
    os.utime(folder, (past, past))


def test_only_temporary_folders_of_killed_writers_are_deleted(tmp_path: Path) -> None:
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


def test_file_in_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("in the way")
    with pytest.raises(BadInput, match="train") as caught:
        write(StageStore(tmp_path))
    assert caught.value.code == "disk.path-taken"


def test_folder_that_is_not_writable_is_reported() -> None:
    # Not even root can create folders there.
    with pytest.raises(BadInput, match=r"/sys/kernel/modelworks") as caught:
        write(StageStore(Path("/sys/kernel/modelworks")))
    assert caught.value.code == "disk.not-writable"


def test_full_disk_is_unavailable_and_leaves_no_files(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    with pytest.raises(Unavailable) as caught, store.write("train", KEY, {}):
        Path("/dev/full").write_text("content")
    assert caught.value.code == "disk.full"
    assert list((tmp_path / "train").iterdir()) == []


def test_other_os_errors_are_not_converted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "missing").read_text()


def test_written_json_is_indented_and_rejects_infinity(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"a": "ü"})
    assert (tmp_path / "file.json").read_text() == '{\n "a": "ü"\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "other.json", float("inf"))
