"""`doctor --deep` reads every stored byte, and the next run restores damaged files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"
PLACES = {
    "bytes of stage outputs": ".modelworks/stages/train/*/model/model.safetensors",
    "bytes of pages": ".modelworks/reports/*/*/*.html",
    "bytes of decoded rows": ".modelworks/decoded/*/*.npy",
    "bytes of DVC's cache": ".dvc/cache/files/md5/*/*",
    "bytes of data/": "data/digits/*.parquet",
}


def flip_bit(path: Path) -> bytes:
    """Change the last bit of a file, keep its size and times, and return the original content."""
    status, before = path.stat(), path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.chmod(status.st_mode)
    return before


def states(workspace: Workspace, *arguments: str) -> dict[str, str]:
    """Return the state of each finding about stored bytes."""
    outcome = workspace.run("doctor", "--deep", *arguments, "--json")
    found = {each["what"]: each["state"] for each in outcome.object["findings"]}
    return {what: found[what] for what in PLACES}


@pytest.mark.slow
def test_changed_bits_are_found_and_the_next_run_restores_the_files(after_digits: Workspace) -> None:
    intact = dict.fromkeys(PLACES, "ok")
    assert states(after_digits, "--dry-run") == intact
    largest = {
        what: max(after_digits.root.glob(place), key=lambda each: each.stat().st_size) for what, place in PLACES.items()
    }
    contents = {path: flip_bit(path) for path in largest.values()}
    assert states(after_digits, "--dry-run") == dict.fromkeys(PLACES, "would repair")
    assert all(path.read_bytes() != content for path, content in contents.items()), "a dry run changes nothing"
    after_digits.run("doctor", "--deep")
    summary = after_digits.done("run", DIGITS)
    assert summary["version"] == 1, "the same bytes are the same version"
    for path, content in contents.items():
        assert path.read_bytes() == content, path
    assert states(after_digits, "--dry-run") == intact
