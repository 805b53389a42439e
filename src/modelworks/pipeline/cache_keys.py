"""Compute the key of a stage: a digest of its ingredients, all that its result depends on.

Ingredients are a flat mapping of names to values, so that the difference between two keys can be
reported: `train.epochs: 8 -> 3`, `source of modelworks.models.cnn changed`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from modelworks.errors import BadInput
from modelworks.files.digest import canonical_json, json_digest
from modelworks.pipeline.code_digest_memo import code_digests

__all__ = [
    "changed_sources",
    "confirm_sources",
    "differences",
    "ingredients",
    "key_of",
    "library_versions",
    "settings",
    "sources",
]


def key_of(ingredients: Mapping[str, str]) -> str:
    """Return the key: SHA-256 of the ingredients."""
    return json_digest(dict(ingredients))


def ingredients(
    *,
    upstream: Mapping[str, str],
    config: Mapping[str, Any],
    modules: Iterable[str],
    libraries: Iterable[str],
    without: Collection[str] = (),
) -> dict[str, str]:
    """Return what a stage's result depends on.

    Args:
        upstream: digests of the outputs that it reads, by stage name.
        config: nested fields that can change its result; each leaf becomes one ingredient.
        modules: the project modules that compute its result; their imports are included.
        libraries: the distributions that compute its result.
        without: project modules that cannot change the result; modules that only they import are left out too.
    """
    return {
        **{f"result of {name}": digest for name, digest in upstream.items()},
        **settings(config),
        **{f"source of {name}": digest for name, digest in sources(modules, without).items()},
        **library_versions(libraries),
    }


def settings(config: Any, prefix: str = "") -> dict[str, str]:  # any JSON value
    """Return the leaves of nested config values: `{"train.epochs": "8", ...}`."""
    if isinstance(config, Mapping):
        leaves: dict[str, str] = {}
        for name, value in config.items():
            leaves |= settings(value, f"{prefix}.{name}" if prefix else str(name))
        return leaves
    return {prefix: canonical_json(config)}


def sources(modules: Iterable[str], without: Collection[str] = ()) -> dict[str, str]:
    """Return the code digests of modules, their packages, and all project modules they import.

    Imports for type checkers are ignored. See `code_digest` for what counts.

    Args:
        modules: where the search starts.
        without: modules to leave out, with the modules that only they import.
    """
    graph = _import_graph()
    excluded, found, pending = set(without), set[str](), list(modules)
    while pending:
        name = pending.pop()
        if name not in found and name not in excluded:
            found.add(name)
            pending.extend(graph.find_modules_directly_imported_by(name))
    for name in list(found):  # importing a.b.c also runs a and a.b, which the graph does not have
        while "." in name:
            name = name.rpartition(".")[0]
            found.add(name)
    at_start = _sources_at_start()
    return code_digests({name: at_start[name] for name in sorted(found - excluded)})


def changed_sources(ingredients: Mapping[str, str]) -> tuple[str, ...]:
    """Return the modules whose source has changed since the ingredients were computed."""
    modules = {name: name.removeprefix("source of ") for name in sorted(ingredients) if name.startswith("source of ")}
    return tuple(module for name, module in modules.items() if _digest_now(module) != ingredients[name])


def confirm_sources(ingredients: Mapping[str, str]) -> None:
    """Check that no module has changed since the ingredients were computed.

    Raises:
        BadInput: a module has changed.
    """
    if changed := changed_sources(ingredients):
        raise BadInput(f"the source of {changed[0]} was changed since this run began", "run again", code="code.changed")


def library_versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each distribution, and of Python."""
    versions = {f"library {name}": importlib.metadata.version(name) for name in libraries}
    return {**versions, "python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """Describe the differences between two sets of ingredients, one phrase each."""
    phrases = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if name.startswith(("source of ", "result of ")):
            verb = "is new" if before is None else "is gone" if after is None else "changed"
            phrases.append(f"{name} {verb}")
        else:
            phrases.append(f"{name}: {before or 'not set'} -> {after or 'not set'}")
    return tuple(phrases)


@cache
def _import_graph() -> Any:  # grimp.ImportGraph, imported when needed
    import grimp

    return grimp.build_graph("modelworks", cache_dir=None, exclude_type_checking_imports=True)


@cache
def _sources_at_start() -> dict[str, bytes]:
    """Read the source of every module when this process first computes a key.

    Keys of later stages are computed when their inputs exist. A file that is edited in between is not the code that
    this process has imported.
    """
    return {name: _module_file(name).read_bytes() for name in _import_graph().modules}


def _digest_now(module: str) -> str:
    """Return the code digest of a module's current file; empty if it is missing or not Python."""
    try:
        return code_digests({module: _module_file(module).read_bytes()})[module]
    except (OSError, SyntaxError, ValueError):
        return ""


def _module_file(name: str) -> Path:
    package = importlib.util.find_spec("modelworks")
    assert package is not None
    assert package.submodule_search_locations
    base = Path(next(iter(package.submodule_search_locations))).joinpath(*name.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
