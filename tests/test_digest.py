"""Digests depend only on content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from modelworks.files.digest import canonical_json, file_digest, folder_digests, json_digest, text_digest


def test_file_digest_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


def test_order_of_keys_does_not_change_the_digest() -> None:
    assert json_digest({"a": 1, "b": [2.5, None]}) == json_digest({"b": [2.5, None], "a": 1})
    assert canonical_json({"b": "ü", "a": True}) == '{"a":true,"b":"ü"}'
    assert json_digest("x") == text_digest('"x"')


def test_value_without_json_form_is_rejected() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_digest({"loss": float("nan")})


def test_folder_digests_have_every_file_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b").write_bytes(b"12")
    (tmp_path / "a").write_bytes(b"")
    assert folder_digests(tmp_path) == {
        "a": {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()},
        "below/b": {"size": 2, "sha256": hashlib.sha256(b"12").hexdigest()},
    }
