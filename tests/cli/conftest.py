"""Make the fixtures of tests/flows available: complete pipelines."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

NAME = "fixtures_of_flows"
SPEC = importlib.util.spec_from_file_location(NAME, Path(__file__).parents[1] / "flows" / "conftest.py")
assert SPEC is not None
assert SPEC.loader is not None
MODULE = sys.modules[NAME] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MODULE)
globals().update({name: value for name, value in vars(MODULE).items() if not name.startswith(("__", "pytest_"))})
