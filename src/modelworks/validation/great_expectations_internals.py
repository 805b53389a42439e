"""Read the names of expectations from the source of Great Expectations.

The layout of its package is undocumented.

`tests/contracts/test_contracts_great_expectations_1_24.py` compares them with the classes that it exports. The public
replacement is `dir(great_expectations.expectations)`, whose import takes several seconds; a config is checked before
any other work.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

__all__ = ["known_expectations"]


def known_expectations() -> dict[str, str]:
    """Return the names for `checks.expect`, each with its class in Great Expectations."""
    spec = importlib.util.find_spec("great_expectations")
    assert spec is not None
    assert spec.origin is not None
    # Finding a submodule's spec would import the package. It exports one module and class per expectation.
    exports = ast.parse((Path(spec.origin).parent / "expectations" / "core" / "__init__.py").read_bytes())
    return {
        node.module: node.names[0].name
        for node in exports.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("expect_")
    }
