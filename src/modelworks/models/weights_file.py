"""Write a model's weights in the safetensors format."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

__all__ = ["write_weights"]


def write_weights(path: Path, state: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Write tensors to a file, sync it, and return the number of tensors of each dtype.

    safetensors writes from the tensors' memory to a temporary file and renames it.

    Raises:
        OSError: writing fails.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # it has the system's error only as text
        number = re.search(r"os error (\d+)|code: (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1] or number[2])
        raise OSError(code, os.strerror(code), str(path)) from error
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    types = [str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()]
    return {name: types.count(name) for name in sorted(set(types))}
