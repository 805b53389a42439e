"""Digest Python source so that equal digests mean equal results.

Leftovers out: comments, docstrings, layout, the arguments of exceptions, log calls and warnings, the message of an
`assert`, imports for type checkers, and fault points.
"""

from __future__ import annotations

import ast
import builtins
from functools import cache

from modelworks.files.digest import text_digest

__all__ = ["code_digest"]

LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
LOGGERS = frozenset({"logging", "logger", "log", "LOGGER", "LOG"})
EXCEPTIONS = frozenset(
    {
        *(name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)),
        *("ModelworksError", "BadInput", "Refused", "Unavailable", "Overtaken", "Corrupt", "DamagedModel"),
    }
)
"""Names of exception classes, whose arguments are left out."""


@cache
def code_digest(source: bytes) -> str:
    """Return the first 16 hex digits of the SHA-256 of the parsed code.

    Raises:
        SyntaxError, ValueError: the source is not Python.
    """
    return text_digest(ast.dump(_ResultOnly().visit(ast.parse(source))))[:16]


class _ResultOnly(ast.NodeTransformer):
    """Remove the nodes that cannot change a result."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return None
        if isinstance(value, ast.Call) and _name(value.func) == "fault_point":
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if _name(node.test) == "TYPE_CHECKING" and not node.orelse:
            return None
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=raised, cause=None)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return self.generic_visit(ast.Assert(test=node.test, msg=None))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _name(node.func) in EXCEPTIONS or _warns(node.func):
            return ast.Call(func=node.func, args=[], keywords=[])
        return self.generic_visit(node)


def _name(node: ast.AST) -> str:
    """Return the last part of a dotted name; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _warns(function: ast.AST) -> bool:
    """Return whether a function logs or warns, e.g. `warnings.warn` or `logger.info`."""
    if not isinstance(function, ast.Attribute):
        return False
    owner = function.value
    if function.attr == "warn":
        return _name(owner) == "warnings"
    is_get_logger = isinstance(owner, ast.Call) and _name(owner.func) == "getLogger"
    return function.attr in LOG_METHODS and (is_get_logger or _name(owner).lstrip("_") in LOGGERS)
