"""Why a version made again may not be the same: its recorded ingredients against those of the rebuild, by name."""

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
    """Of the library, source file, config field and so on."""
    recorded: str
    """Empty for what was not there."""
    now: str
    """Likewise."""

    def __str__(self) -> str:
        if self.kind in ("code", "data", "checkpoint"):
            return f"{self.kind}: {self.name} differs"
        return f"{self.kind}: {self.name} {self.recorded or 'none'} -> {self.now or 'none'}"


def of_ingredients(
    recorded: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> tuple[Cause, ...]:
    """What differs between the ingredients of the stages, each once.

    Args:
        recorded: by stage, of the version.
        now: by stage, of the rebuild.
    """
    found: dict[tuple[Kind, str], Cause] = {}
    for stage in recorded:
        before, after = recorded[stage], now.get(stage, {})
        for ingredient in sorted({*before, *after}):
            if before.get(ingredient) == after.get(ingredient):
                continue
            if ingredient.startswith("source of ") and not (ingredient in before and ingredient in after):
                continue  # a field that changed, or the module that imports it, brought it in or left it out
            named = _kind(ingredient)
            if named is not None:
                old, new = before.get(ingredient, "").strip('"'), after.get(ingredient, "").strip('"')
                found[named] = Cause(kind=named[0], name=named[1], recorded=old, now=new)
    return tuple(found.values())


def of_libraries(
    recorded: Mapping[str, str], now: Mapping[str, str], among: Iterable[str] | None = None
) -> tuple[Cause, ...]:
    """The libraries with another version; of those named, or of all."""
    names = sorted({*recorded, *now} if among is None else among)
    return tuple(
        Cause(kind="libraries", name=name, recorded=recorded.get(name, ""), now=now.get(name, ""))
        for name in names
        if recorded.get(name) != now.get(name)
    )


def of_processor(recorded: str, now: str) -> tuple[Cause, ...]:
    """Another kind of processor computes in another order."""
    return () if recorded == now else (Cause(kind="hardware", name="processor", recorded=recorded, now=now),)


def computing(ingredients: Mapping[str, Mapping[str, str]]) -> set[str]:
    """The libraries that compute a version's result, of all that were installed."""
    return {
        name.removeprefix("library ") for parts in ingredients.values() for name in parts if name.startswith("library ")
    }


def in_words(causes: Iterable[Any], most: int = 5) -> str:
    """Some of them, and how many more there are."""
    listed = [str(each) for each in causes]
    more = f", and {len(listed) - most} more" if len(listed) > most else ""
    return "; ".join(listed[:most]) + more


def _kind(ingredient: str) -> tuple[Kind, str] | None:
    """What an ingredient of a stage's key is, and its name; None for what only follows from another one."""
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
