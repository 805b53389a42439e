"""The tree of errors: its drawing, its exit codes, its way through pickle."""

from __future__ import annotations

import pickle
import signal

import pytest

from modelworks import errors
from modelworks.errors import BadInput, Corrupt, Interrupted, ModelworksError, Refused, Unavailable


def test_every_error_is_drawn_in_the_module_docstring() -> None:
    drawing = errors.__doc__ or ""
    kinds = [name for name, value in vars(errors).items() if isinstance(value, type)]
    assert [name for name in kinds if name not in drawing] == []
    assert [name for name in kinds if name not in errors.__all__] == []
    assert errors.__all__ == sorted(errors.__all__)


@pytest.mark.parametrize(
    ("kind", "code"), [(ModelworksError, 1), (BadInput, 2), (Refused, 3), (Unavailable, 4), (Corrupt, 5)]
)
def test_every_branch_has_its_exit_code(kind: type[ModelworksError], code: int) -> None:
    assert kind("what").exit_code == code


def test_an_interruption_exits_as_a_shell_would_say_it() -> None:
    assert Interrupted(signal.SIGTERM).exit_code == 143
    assert Interrupted(signal.SIGINT).exit_code == 130


@pytest.mark.parametrize("error", [BadInput("what", "way out"), Interrupted(signal.SIGTERM)])
def test_an_error_survives_a_process_boundary(error: ModelworksError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code) == (type(error), str(error), error.exit_code)


def test_the_way_out_stands_below_the_message() -> None:
    assert str(BadInput("what", "way out")) == "what\n  way out"
    assert str(BadInput("what")) == "what"
