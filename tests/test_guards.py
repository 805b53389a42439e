"""The table of `make guards` matches the current source and tests."""

from __future__ import annotations

import pytest
from programs.guards import GUARDS, ROOT, Guard


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_guard_occurs_once_in_its_file_and_its_tests_exist(guard: Guard) -> None:
    assert (ROOT / guard.file).read_text().count(guard.present) == 1
    for test in guard.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).exists()
        assert not name or f"def {name}(" in (ROOT / file).read_text()


def test_guard_names_are_unique() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS) >= 15
