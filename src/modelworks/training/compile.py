"""Compile a model for `train.compile: true`, on a GPU with CUDA graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from modelworks.errors import BadInput
from modelworks.training.compile_internals import compiler_error, limit_compiler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelworks.training.hardware import Hardware

__all__ = ["Compiled"]

MULTIPLE = 16
"""Texts are padded to a multiple of this many tokens to limit the number of shapes."""
SHAPES = 256
"""Limit on the number of compiled shapes, above what a training can have."""


class Compiled(nn.Module):
    """Compile a model; it shares the model's parameters.

    Every shape is compiled separately. A step then depends on its batch alone and not on the shapes before it, so a
    resumed training has the same bits.
    """

    def __init__(self, model: nn.Module, shape: Mapping[str, int], hardware: Hardware) -> None:
        """
        Args:
            shape: of the model's input; has `max_tokens` for texts.
        """
        super().__init__()
        limit_compiler(SHAPES)
        self.model = model
        self._longest = shape.get("max_tokens", 0)
        self._call = torch.compile(
            model, dynamic=False, fullgraph=True, mode="reduce-overhead" if hardware.device == "cuda" else None
        )

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Return the model's logits (n, classes).

        Raises:
            BadInput: torch cannot compile the model here.
        """
        # The previous step's graph memory may be reused.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if self._longest:
            inputs = {name: self._padded(each) for name, each in inputs.items()}
        try:
            return self._call(**inputs)  # type: ignore[no-any-return]  # as does torch.compile
        except compiler_error() as error:
            raise BadInput(
                f"train.compile: torch cannot compile this model here: {str(error).strip().splitlines()[0]}",
                "remove train.compile, or on a CPU install a C++ compiler",
                code="train.compile",
            ) from error

    def _padded(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pad (n, tokens) with zeros, which the mask excludes, to a multiple of MULTIPLE tokens."""
        length = tokens.shape[1]
        wanted = min(self._longest, -(-length // MULTIPLE) * MULTIPLE)
        return functional.pad(tokens, (0, wanted - length))
