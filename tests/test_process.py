"""A child process ends with its parent.

Garbage collection thresholds apply only inside their block.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys

import pytest

from modelworks.process import rare_garbage_collection

CHILD = """
import signal, sys
from modelworks.process import die_with_parent
die_with_parent(int(sys.argv[1]))
print("ready", flush=True)
signal.pause()
"""

PARENT = """
import os, subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), child.pid, flush=True)
signal.pause()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux signals the death of a parent")
def test_child_of_a_killed_parent_is_terminated() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ready, child = parent.stdout.readline().split()
        assert ready == "ready"
        # A pidfd becomes readable when the process ends.
        descriptor = os.pidfd_open(int(child))
        parent.kill()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(10_000), "the child is still running"
        os.close(descriptor)


def test_child_of_a_dead_parent_ends_at_once() -> None:
    unused = 2**22 + 1  # above the largest process id
    done = subprocess.run([sys.executable, "-c", CHILD, str(unused)], capture_output=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGTERM


def test_garbage_collection_thresholds_are_restored_after_the_block() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        with rare_garbage_collection():
            assert gc.get_threshold()[:2] == (50_000, 20)
        assert gc.get_threshold() == before
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
