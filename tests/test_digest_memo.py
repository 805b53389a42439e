"""A digest is computed again only if the file may have changed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from modelworks.files import digest_memo
from modelworks.files.digest import file_digest, md5_digest
from modelworks.files.digest_memo import DOUBTFUL_NS, DigestMemo


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that were read for their digests."""
    names: list[str] = []

    def counting(path: Path) -> str:
        names.append(path.name)
        return file_digest(path)

    monkeypatch.setitem(digest_memo._COMPUTE, "sha256", counting)
    return names


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file that was last changed some time ago."""
    path = tmp_path / "file"
    path.write_text("content")
    time.sleep(2 * DOUBTFUL_NS / 1e9)
    return path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def flip_and_restore_the_time(path: Path) -> None:
    found = path.stat()
    flip(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    flip_and_restore_the_time(other)
    other.replace(path)


def test_unchanged_file_is_read_once(tmp_path: Path, file: Path, reads: list[str]) -> None:
    for _ in range(3):
        assert DigestMemo(tmp_path).digest(file) == file_digest(file)
    assert reads == ["file"]


def test_each_algorithm_has_its_own_digest(tmp_path: Path, file: Path) -> None:
    memo = DigestMemo(tmp_path)
    assert (memo.digest(file, "md5"), memo.digest(file)) == (md5_digest(file), file_digest(file))


@pytest.mark.parametrize("change", [flip, flip_and_restore_the_time, replace])
def test_changed_file_is_read_again(tmp_path: Path, file: Path, change: object) -> None:
    before = DigestMemo(tmp_path).digest(file)
    assert callable(change)
    change(file)
    after = DigestMemo(tmp_path).digest(file)
    assert after == file_digest(file) != before


def test_digest_of_a_recently_changed_file_is_not_cached(tmp_path: Path, file: Path, reads: list[str]) -> None:
    flip(file)
    now = time.time_ns() + 10**9  # recent even on a slow machine
    os.utime(file, ns=(now, now))
    for _ in range(2):
        assert DigestMemo(tmp_path).digest(file) == file_digest(file)
    assert reads == ["file", "file"]


def test_incomplete_and_unknown_lines_are_skipped(tmp_path: Path, file: Path, reads: list[str]) -> None:
    DigestMemo(tmp_path).digest(file)
    path = tmp_path / digest_memo.NAME
    path.write_bytes(b"[1, 2\n{}\n\xff\n" + path.read_bytes() + b'["sha256", "/')
    assert DigestMemo(tmp_path).digest(file) == file_digest(file)
    assert reads == ["file"]


def test_memo_without_a_folder_stores_nothing(tmp_path: Path, file: Path) -> None:
    assert DigestMemo(tmp_path / "none").digest(file) == file_digest(file)
    assert not (tmp_path / "none").exists()


def test_large_memo_is_rewritten_without_deleted_files(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    shutil.copy2(file, gone)
    DigestMemo(tmp_path).digest(gone)
    gone.unlink()
    monkeypatch.setattr(digest_memo, "LARGEST", 1)
    DigestMemo(tmp_path).digest(file)
    assert str(gone) not in (tmp_path / digest_memo.NAME).read_text()
    assert str(file) in (tmp_path / digest_memo.NAME).read_text()
