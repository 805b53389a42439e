"""Read the names of expectations from the source of Great Expectations. The layout of its package is undocumented.

`tests/contracts/test_contracts_great_expectations_1_24.py` compares them with the classes that it exports. The public
replacement is `dir(great_expectations.expectations)`, which needs an import of several seconds: a config is checked, and
the nearest name suggested, before any work starts.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

__all__ = ["known_expectations"]


def known_expectations() -> dict[str, str]:
    """Return the names that `checks.expect` may use, each with its class in `great_expectations.expectations`."""
    spec = importlib.util.find_spec("great_expectations")
    assert spec is not None
    assert spec.origin is not None
    # A submodule's spec would import the package; its exports are one module and class per expectation.
    exports = ast.parse((Path(spec.origin).parent / "expectations" / "core" / "__init__.py").read_bytes())
    return {
        node.module: node.names[0].name
        for node in exports.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("expect_")
    }
