"""The table of `make guards` matches the current source and tests."""

from __future__ import annotations

import subprocess
import sys

import pytest
from programs.guards import GUARDS, ROOT, Guard, without


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_guard_occurs_once_in_its_file_and_its_tests_exist(guard: Guard) -> None:
    assert (ROOT / guard.file).read_text().count(guard.present) == 1
    for test in guard.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).exists()
        assert not name or f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_source_without_a_guard_compiles_and_has_no_undefined_name(guard: Guard) -> None:
    """An error of that kind would make every test fail and count as a detected removal."""
    source = without(guard, (ROOT / guard.file).read_text())
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--quiet", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_guard_names_are_unique() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS) >= 15
