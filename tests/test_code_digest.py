"""Edits that cannot change results keep a source's digest; other edits change it."""

from __future__ import annotations

import pytest

from modelworks.pipeline.code_digest import code_digest

CODE = '''
"""A module."""
import logging, warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 3


def check(values):
    """Look."""
    assert values, "there are none"
    fault_point("check.before")
    if len(values) > LIMIT:
        raise BadInput(f"{len(values)} are too many", "give less") from None
    if not values[0]:
        logging.getLogger(__name__).warning("the first one is %s", values[0])
        warnings.warn("empty", stacklevel=2)
        return Refused("nothing to do")
    return [value * 2 for value in values]
'''

WITHOUT_EFFECT = {
    "comment": ("LIMIT = 3", "LIMIT = 3  # at most"),
    "docstring": ('"""Look."""', '"""Look closely."""'),
    "layout": ("    return [value", "\n    return [value"),
    "message of an exception": ("are too many", "are more than allowed"),
    "hint of an exception": ('"give less"', '"give fewer"'),
    "message of a constructed exception": ("nothing to do", "there is nothing to do"),
    "cause of an exception": (" from None", ""),
    "log message": ("the first one is %s", "the first value is %s"),
    "warning": ('warnings.warn("empty", stacklevel=2)', 'warnings.warn("it is empty", stacklevel=3)'),
    "message of an assertion": ("there are none", "no values"),
    "import for type checkers": ("    from collections.abc import Sequence", "    from collections.abc import Mapping"),
    "fault point": ('    fault_point("check.before")\n', ""),
}
WITH_EFFECT = {
    "constant": ("LIMIT = 3", "LIMIT = 4"),
    "operator": ("value * 2", "value + 2"),
    "condition": ("if len(values) > LIMIT", "if len(values) >= LIMIT"),
    "kind of exception": ("raise BadInput", "raise Refused"),
    "an exception that is not raised": ('raise BadInput(f"{len(values)} are too many", "give less") from None', "pass"),
    "condition of an assertion": ("assert values,", "assert not values,"),
    "string that is a value": ("LIMIT = 3", 'LIMIT = "3"'),
    "unused constant": ("LIMIT = 3", "LIMIT = 3\nUNUSED = 1"),
}


@pytest.mark.parametrize("edit", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_edit_without_effect_keeps_the_digest(edit: tuple[str, str]) -> None:
    assert edit[0] in CODE
    assert code_digest(CODE.replace(*edit).encode()) == code_digest(CODE.encode())


@pytest.mark.parametrize("edit", WITH_EFFECT.values(), ids=WITH_EFFECT)
def test_edit_with_effect_changes_the_digest(edit: tuple[str, str]) -> None:
    assert edit[0] in CODE
    assert code_digest(CODE.replace(*edit).encode()) != code_digest(CODE.encode())


def test_digest_of_invalid_python_raises() -> None:
    with pytest.raises(SyntaxError):
        code_digest(b"def half(")
