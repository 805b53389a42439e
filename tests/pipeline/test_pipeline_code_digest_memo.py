"""Digests of source that an earlier process stored are used, and give the same digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelworks.pipeline import code_digest as method
from modelworks.pipeline import code_digest_memo as memo

SOURCES = {"one": b"ONE = 1\n", "two": b"def two():\n    return 2\n"}
DIGESTS = {name: method.code_digest(source) for name, source in SOURCES.items()}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    begin_process()
    return tmp_path


def begin_process() -> None:
    """Forget what this process has read, as a new process would."""
    memo._known.cache_clear()
    memo._path.cache_clear()


def stored(home: Path) -> Path:
    (path,) = (home / ".cache" / "modelworks" / "code-digests").iterdir()
    return path


def test_stored_digests_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memo.code_digests(SOURCES) == DIGESTS
    begin_process()
    monkeypatch.setattr(method, "code_digest", lambda source: pytest.fail("a stored digest is computed"))
    assert memo.code_digests(SOURCES) == DIGESTS


def test_changed_source_has_its_own_digest() -> None:
    memo.code_digests(SOURCES)
    begin_process()
    changed = {**SOURCES, "one": b"ONE = 11\n"}
    found = memo.code_digests(changed)
    assert found == {**DIGESTS, "one": method.code_digest(b"ONE = 11\n")}
    assert found["one"] != DIGESTS["one"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"one": 1}', '{"a": "b"'])
def test_damaged_file_is_replaced(home: Path, content: str) -> None:
    memo.code_digests(SOURCES)
    intact = stored(home).read_text()
    stored(home).write_text(content)
    begin_process()
    assert memo.code_digests(SOURCES) == DIGESTS
    assert stored(home).read_text() == intact


def test_file_above_the_limit_is_begun_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memo.code_digests({"old": b"OLD = 0\n", **SOURCES})
    monkeypatch.setattr(memo, "LIMIT", 2)
    begin_process()
    assert memo.code_digests({"new": b"NEW = 0\n"}) == {"new": method.code_digest(b"NEW = 0\n")}
    assert stored(home).read_text().count(":") == 1


def test_digests_are_computed_without_a_writable_home(home: Path) -> None:
    (home / ".cache").write_text("a file")
    assert memo.code_digests(SOURCES) == DIGESTS
