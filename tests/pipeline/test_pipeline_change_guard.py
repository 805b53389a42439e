"""What a block comes to counts only on the ground that it began on."""

from __future__ import annotations

import signal

import pytest

from modelworks.errors import Interrupted, Overtaken
from modelworks.pipeline.change_guard import confirmed


def same() -> None:
    """Nothing has changed."""


def changed() -> None:
    raise Overtaken("the data are others")


def test_on_the_same_ground_a_block_ends_as_it_ends() -> None:
    with confirmed(same, same):
        pass
    with pytest.raises(KeyError, match="dog"), confirmed(same):
        raise KeyError("dog")


def test_on_another_ground_that_is_said_whatever_the_block_came_to() -> None:
    with pytest.raises(Overtaken, match="others"), confirmed(same, changed):
        pass
    with pytest.raises(Overtaken, match="others") as caught, confirmed(same, changed):
        raise KeyError("dog")
    assert isinstance(caught.value.__context__, KeyError)


def test_who_is_asked_to_stop_stops() -> None:
    with pytest.raises(Interrupted), confirmed(changed):
        raise Interrupted(signal.SIGTERM)
