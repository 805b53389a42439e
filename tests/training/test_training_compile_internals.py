"""The undocumented compiler modules of torch 2.13 that are used have the expected behaviour."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import torch
from modelworks.training.compile_internals import compiler_error, limit_compiler

limit_compiler(20)
counted = torch.compile(lambda x: x + 1, dynamic=False, fullgraph=True, backend="eager")
for length in range(2, 14):  # more shapes than torch's own limit of 8, each of which must compile
    counted(torch.ones(length))
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 12
assert torch._inductor.config.compile_threads == 1
try:
    torch.compile(lambda x: torch._dynamo.graph_break() or x, fullgraph=True, backend="eager")(torch.ones(2))
except compiler_error():
    print("refused")
"""


def test_torch_2_13_has_the_limits_and_the_error_class() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "refused\n", done.stderr
