"""A nondeterministic operation is refused if the config requires determinism."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from modelworks.errors import BadInput
from modelworks.training.determinism import demand_determinism, refuse_nondeterminism
from modelworks.training.loop import Trained

Fit = Callable[..., tuple[nn.Module, Trained]]


class Scattering(nn.Module):
    """A network with `put_`, which has no deterministic implementation on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(36, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(pixels.flatten(1))
        return logits + torch.zeros(2).put_(torch.tensor([1]), torch.ones(1))


@pytest.fixture
def deterministic() -> Iterator[None]:
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # torch sets it up so
    demand_determinism()
    yield
    torch.set_deterministic_debug_mode("default")
    torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@pytest.mark.usefixtures("deterministic")
def test_nondeterministic_operation_names_the_field_to_change(fit: Fit) -> None:
    with pytest.raises(BadInput, match=r"train\.deterministic: .*put_") as caught, refuse_nondeterminism():
        fit(network=Scattering)
    assert caught.value.code == "train.deterministic"
    assert "train.deterministic: false" in caught.value.hint


def test_nondeterministic_operation_trains_with_deterministic_false(fit: Fit) -> None:
    _, trained = fit(network=Scattering)
    assert trained.steps > 0


def test_other_errors_are_not_changed() -> None:
    error = RuntimeError("no room")
    with pytest.raises(RuntimeError) as caught, refuse_nondeterminism():
        raise error
    assert caught.value is error
