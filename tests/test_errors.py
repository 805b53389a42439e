"""The tree of errors: its docstring, exit codes, codes and pickling."""

from __future__ import annotations

import ast
import pickle
import re
import signal
from pathlib import Path

import pytest

from modelworks import errors
from modelworks.errors import BadInput, Corrupt, Interrupted, ModelworksError, Refused, Unavailable

ROOT = Path(__file__).parents[1]
KINDS = ("BadInput", "Refused", "Unavailable", "Overtaken", "Corrupt", "ModelworksError")


def test_every_error_is_in_the_module_docstring() -> None:
    docstring = errors.__doc__ or ""
    kinds = [name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)]
    assert [name for name in kinds if name not in docstring] == []
    assert [name for name in kinds if name not in errors.__all__] == []
    assert errors.__all__ == sorted(errors.__all__)


@pytest.mark.parametrize(
    ("kind", "code"), [(ModelworksError, 1), (BadInput, 2), (Refused, 3), (Unavailable, 4), (Corrupt, 5)]
)
def test_every_branch_has_its_exit_code(kind: type[ModelworksError], code: int) -> None:
    assert kind("what").exit_code == code


def test_interruption_has_the_exit_code_of_a_shell() -> None:
    assert Interrupted(signal.SIGTERM).exit_code == 143
    assert Interrupted(signal.SIGINT).exit_code == 130


@pytest.mark.parametrize(
    "error", [BadInput("what", "hint"), Interrupted(signal.SIGTERM), Interrupted(signal.SIGINT, "a test")]
)
def test_error_can_be_pickled(error: ModelworksError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code) == (type(error), str(error), error.exit_code)


def test_hint_is_printed_below_the_message() -> None:
    assert str(BadInput("what", "hint")) == "what\n  hint"
    assert str(BadInput("what")) == "what"


def test_every_error_in_the_source_has_a_code() -> None:
    """Programs and tests use the codes, so that messages can change."""
    without = []
    for folder in (ROOT / "src" / "modelworks", ROOT / "flows", ROOT / "tasks"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in KINDS:
                    continue
                codes = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                valid = [
                    each
                    for each in codes
                    if not isinstance(each, ast.Constant) or re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*", each.value)
                ]
                if not valid and path.name != "errors.py":
                    without.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert without == []


def test_pickled_error_keeps_its_code() -> None:
    error = BadInput("what", "fix", code="source.missing")
    assert pickle.loads(pickle.dumps(error)).code == "source.missing"
