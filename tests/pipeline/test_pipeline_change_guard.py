"""A changed input replaces the result of the block."""

from __future__ import annotations

import signal

import pytest

from modelworks.errors import Interrupted, Overtaken
from modelworks.pipeline.change_guard import confirmed


def same() -> None:
    """Nothing has changed."""


def changed() -> None:
    raise Overtaken("the data changed", code="data.changed")


def test_result_and_error_of_the_block_pass_if_inputs_are_unchanged() -> None:
    with confirmed(same, same):
        pass
    with pytest.raises(KeyError, match="dog"), confirmed(same):
        raise KeyError("dog")


def test_changed_input_replaces_result_and_error_of_the_block() -> None:
    with pytest.raises(Overtaken), confirmed(same, changed):
        pass
    with pytest.raises(Overtaken) as caught, confirmed(same, changed):
        raise KeyError("dog")
    assert isinstance(caught.value.__context__, KeyError)


def test_interrupt_is_raised_without_checking_inputs() -> None:
    with pytest.raises(Interrupted), confirmed(changed):
        raise Interrupted(signal.SIGTERM)
