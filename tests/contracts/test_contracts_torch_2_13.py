"""Undocumented behaviour of torch 2.13 that modelworks depends on: compiler modules, and errors of gloo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = """
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
WORKER = """
import os, sys
import torch, torch.distributed as dist
from modelworks.training.launchers.ray_internals import lost_peer

rank = int(sys.argv[1])
dist.init_process_group("gloo", store=dist.FileStore(sys.argv[2], 2), rank=rank, world_size=2)
dist.all_reduce(torch.ones(1))
if rank:
    os._exit(0)
try:
    for _ in range(100):
        dist.all_reduce(torch.ones(1))
except Exception as error:
    assert lost_peer(error), repr(error)
    assert not lost_peer(RuntimeError("out of memory"))
    print("lost", flush=True)
    os._exit(0)
"""


@pytest.mark.slow
def test_compiler_has_the_limits_and_the_error_class() -> None:
    done = subprocess.run([sys.executable, "-c", COMPILER], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "refused\n", done.stderr


def test_error_after_the_death_of_a_peer_is_recognised(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen([*command, "1", tmp_path / "store"]):
        done = subprocess.run(
            [*command, "0", tmp_path / "store"], capture_output=True, text=True, check=False, timeout=300
        )
    assert done.stdout == "lost\n", done.stderr
