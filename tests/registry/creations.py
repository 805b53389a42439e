"""The first part of programs that create stores and are killed meanwhile."""

PRELUDE = """
import json, os, signal, sys
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store  # before the forks, which then need not import it
from sqlalchemy import event
from sqlalchemy.engine import Engine

from modelworks.project import Project
from modelworks.registry.backend import tracking_store

def die_at(statement):
    seen = 0
    def count(*arguments):
        nonlocal seen
        seen += 1
        if seen == statement:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(Engine, "before_cursor_execute", count)

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
