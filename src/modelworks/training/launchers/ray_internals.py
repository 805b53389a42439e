"""The errors of a worker whose peer is gone, when Ray has set up the process group.

torch has no class for gloo's errors. `tests/contracts/test_contracts_torch_2_13.py` has a test.
"""

from __future__ import annotations

__all__ = ["lost_peer"]


def lost_peer(error: Exception) -> bool:
    """Return whether communication with another process failed; Ray then replaces both."""
    import torch.distributed as dist

    # Gloo raises RuntimeError with a message that begins with the position in its source.
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
