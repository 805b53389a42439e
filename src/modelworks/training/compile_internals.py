"""Uses of torch.compile's undocumented modules: limits of the compiler and its errors.

torch 2.13 has no public setting for the limits (`torch.compiler.config` has none) and no public class for the errors.
"""

from __future__ import annotations

__all__ = ["compiler_error", "limit_compiler"]


def limit_compiler(shapes: int) -> None:
    """Allow up to `shapes` compiled shapes of a model, in this process only.

    Beyond its default limit of 8 shapes torch stops compiling without an error. Compile worker processes are disabled,
    because they could outlive this process.
    """
    import torch._dynamo
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = shapes  # noqa: SLF001
    torch._inductor.config.compile_threads = 1  # noqa: SLF001


def compiler_error() -> type[Exception]:
    """Return the base class of the errors that torch's compiler raises."""
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException
