"""Compare the recorded ingredients of a version with those of its rebuild."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Cause", "Kind", "computing", "in_words", "of_ingredients", "of_libraries", "of_processor"]

Kind = Literal["data", "config", "code", "libraries", "checkpoint", "hardware", "threads", "processes", "seed"]

_COMPUTE: Mapping[str, Kind] = {"compute.threads": "threads", "compute.processes": "processes", "train.seed": "seed"}


@dataclass(frozen=True, kw_only=True)
class Cause:
    """An ingredient that differs."""

    kind: Kind
    name: str
    """The library, source file, config field or the like."""
    recorded: str
    """Empty if it was absent."""
    now: str
    """Empty if it is absent."""

    def __str__(self) -> str:
        if self.kind in ("code", "data", "checkpoint"):
            return f"{self.kind}: {self.name} differs"
        return f"{self.kind}: {self.name} {self.recorded or 'none'} -> {self.now or 'none'}"


def of_ingredients(
    recorded: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> tuple[Cause, ...]:
    """Return the differences between the ingredients of the stages, each once.

    Args:
        recorded: of the version, by stage.
        now: of the rebuild, by stage.
    """
    found: dict[tuple[Kind, str], Cause] = {}
    for stage in recorded:
        before, after = recorded[stage], now.get(stage, {})
        for ingredient in sorted({*before, *after}):
            if before.get(ingredient) == after.get(ingredient):
                continue
            if ingredient.startswith("source of ") and not (ingredient in before and ingredient in after):
                continue  # a consequence of a changed field or importing module
            kind = _kind(ingredient)
            if kind is not None:
                old, new = before.get(ingredient, "").strip('"'), after.get(ingredient, "").strip('"')
                found[kind] = Cause(kind=kind[0], name=kind[1], recorded=old, now=new)
    return tuple(found.values())


def of_libraries(
    recorded: Mapping[str, str], now: Mapping[str, str], among: Iterable[str] | None = None
) -> tuple[Cause, ...]:
    """Return the libraries with another version, of `among` or all."""
    names = sorted({*recorded, *now} if among is None else among)
    return tuple(
        Cause(kind="libraries", name=name, recorded=recorded.get(name, ""), now=now.get(name, ""))
        for name in names
        if recorded.get(name) != now.get(name)
    )


def of_processor(recorded: str, now: str) -> tuple[Cause, ...]:
    """Return a difference of the processor, which changes the order of operations."""
    return () if recorded == now else (Cause(kind="hardware", name="processor", recorded=recorded, now=now),)


def computing(ingredients: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return the libraries that compute a version's result."""
    return {
        name.removeprefix("library ") for parts in ingredients.values() for name in parts if name.startswith("library ")
    }


def in_words(causes: Iterable[Any], most: int = 5) -> str:
    """Describe up to `most` causes, and count the rest."""
    listed = [str(each) for each in causes]
    more = f", and {len(listed) - most} more" if len(listed) > most else ""
    return "; ".join(listed[:most]) + more


def _kind(ingredient: str) -> tuple[Kind, str] | None:
    """Return kind and name of an ingredient; None if it only depends on another one."""
    if ingredient in _COMPUTE:
        return _COMPUTE[ingredient], ingredient
    if ingredient == "result of ingest":
        return "data", "the data version"
    if ingredient.startswith("result of "):
        return None
    for start, kind in (("source of ", "code"), ("library ", "libraries"), ("checkpoint ", "checkpoint")):
        if ingredient.startswith(start):
            return kind, ingredient.removeprefix(start)  # type: ignore[return-value]  # mypy widens the tuple's literal
    if ingredient == "python":
        return "libraries", "python"
    return ("hardware" if ingredient.startswith("compute.") else "config"), ingredient
