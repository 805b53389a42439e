"""A stage of a pipeline: its key and the ingredients of the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelworks.pipeline.cache_keys import key_of

__all__ = ["Stage", "make_stage"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage's key and ingredients."""

    name: str
    key: str
    ingredients: Mapping[str, str]


def make_stage(name: str, ingredients: Mapping[str, str]) -> Stage:
    """Return a stage whose key is the digest of its ingredients."""
    return Stage(name=name, key=key_of(dict(ingredients)), ingredients=ingredients)
