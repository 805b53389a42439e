"""An operation that torch computes in no fixed order is refused where the config demands determinism."""

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
    """Uses `put_`, which has no deterministic implementation on a CPU."""

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
def test_an_operation_without_deterministic_implementation_names_the_field_to_change(fit: Fit) -> None:
    message = r"train\.deterministic: torch has no deterministic implementation of put_ on this device"
    with pytest.raises(BadInput, match=message) as caught, refuse_nondeterminism():
        fit(network=Scattering)
    assert caught.value.hint == "set train.deterministic: false"


def test_without_the_demand_it_trains(fit: Fit) -> None:
    fit(network=Scattering)


def test_other_errors_pass_as_they_are() -> None:
    error = RuntimeError("no room")
    with pytest.raises(RuntimeError) as caught, refuse_nondeterminism():
        raise error
    assert caught.value is error
