"""Flips are as likely as asked, repeat with the generator, and reach dropout and attention."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from modelworks.training.bernoulli import bernoulli_


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_share_of_ones_is_the_probability(p: float) -> None:
    torch.manual_seed(0)
    flips = bernoulli_(torch.empty(1000, 1001), p)
    assert set(flips.unique().tolist()) <= {0.0, 1.0}
    assert flips.mean().item() == pytest.approx(p, abs=0.002)  # four standard deviations


def test_flips_do_not_depend_on_their_neighbours() -> None:
    torch.manual_seed(0)
    flips = bernoulli_(torch.empty(1_000_000), 0.5)
    for distance in (1, 2, 3, 4, 8):
        equal = (flips[distance:] == flips[:-distance]).float().mean().item()
        assert equal == pytest.approx(0.5, abs=0.003), distance


@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (3, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
def test_every_shape_and_type_is_filled(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    assert bernoulli_(torch.zeros(shape, dtype=dtype), 0.9999999).bool().all()


def test_a_transposed_tensor_is_filled_as_well() -> None:
    out = torch.full((8, 8), 5.0).t()
    assert set(bernoulli_(out, 0.5).unique().tolist()) == {0.0, 1.0}


def test_the_generator_decides() -> None:
    one, two = (bernoulli_(torch.empty(99), 0.5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)


def test_a_probability_outside_of_its_range_is_refused() -> None:
    with pytest.raises(RuntimeError, match="p to be in"):
        bernoulli_(torch.empty(3), 1.5)


def test_dropout_and_attention_draw_from_it_without_a_word() -> None:
    """In a process of its own: it holds for all of it."""
    script = """
import torch
from torch.nn import functional
from modelworks.training import bernoulli
bernoulli.flip_faster(), bernoulli.flip_faster()
bernoulli.STEPS = 2  # so coarse that a tenth is never
x = torch.ones(2, 2, 64, 8, requires_grad=True)
assert (functional.dropout(x, 0.1) != 0).all()
out = functional.scaled_dot_product_attention(x, x, x, dropout_p=0.1)
assert torch.allclose(out, torch.full_like(out, 1 / 0.9)), out
out.sum().backward()
assert x.grad is not None
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
