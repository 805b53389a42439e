"""What a section class's annotations say beyond types: bounds of a number, a union told apart by `kind`.

Section classes stand beside the code they configure, and some of that code runs on machines that have torch but
no pydantic. So the markers import nothing: pydantic finds their hook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bounds", "ByKind", "kinds"]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """`ge`, `gt`, `le`, `lt` and `pattern`, as in JSON Schema's minimum, exclusiveMinimum and so on."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    pattern: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        limits = {name: limit for name, limit in vars(self).items() if limit is not None}
        return {**handler(source), **limits}


@dataclass(frozen=True)
class ByKind:
    """Marks a union of section classes: the `kind` in the file says which of them reads the section."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        choices = {kind: handler.generate_schema(section) for kind, section in kinds(source).items()}
        return {"type": "tagged-union", "discriminator": "kind", "choices": choices}


def kinds(union: Any) -> dict[str, type]:
    """`{kind: section class}` of a union of section classes."""
    return {kind: section for section in get_args(union) for kind in get_args(get_type_hints(section)["kind"])}
