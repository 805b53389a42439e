"""Refuse a package that could run or install anything but its own serving file, its model's sources and pinned libraries.

The digests prove that a package is what was registered. This also holds for a version that something else put into the
registry, tags and all. Only what is executed, loaded or installed is checked: names of files, the loader and its code,
and lists of dependencies. The file called `__pycache__` is meant: it keeps Python from a folder of that name, in which
it would look for compiled code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from modelworks.errors import Corrupt, first_line
from modelworks.registry.backend.mlflow_internals import EXECUTED, SERVING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["check_form", "check_names"]

WAY_OUT = "it was not made by `modelworks run`: delete that version, or promote another"
MODEL = "artifacts/model/"
OUTSIDE = ("MLmodel", SERVING, "requirements.txt", "conda.yaml", "python_env.yaml", "__pycache__")
"""Files beside the saved model."""
INSIDE = (".json", ".safetensors", ".npy", ".txt", ".py")
"""Endings of the saved model's files: none can hold a pickle (NumPy reads with `allow_pickle=False`)."""
LARGEST_TEXT = 2**20
"""Bytes of a file beside the saved model."""
_CODE = re.compile(r"code/([A-Za-z_]\w*/)*[A-Za-z_]\w*\.py", re.ASCII)
"""A source that the saved model brings; nothing else may lie in a folder of it."""
_PIN = r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!_]*"
_REQUIREMENT = re.compile(_PIN)
_DEPENDENCY = re.compile(rf"-r requirements\.txt|(python|pip|setuptools|wheel)([<>=]+[\d.]+)?|{_PIN}")


def check_names(names: Iterable[str]) -> None:
    """Refuse file names that no package of ours has; paths are relative, with slashes.

    Raises:
        Corrupt: a name leads outside, or is of a kind that could hold code or a pickle.
    """
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or not all(parts) or {".", ".."} & {*parts}:
            raise Corrupt(f"the package names a file outside of itself: {name}", WAY_OUT, code="package.form")
        below = name.removeprefix(MODEL)
        inside = ("/" not in below and below.endswith(INSIDE)) or _CODE.fullmatch(below)
        if name not in OUTSIDE and (below == name or not inside):
            raise Corrupt(f"the package holds a file that no package has: {name}", WAY_OUT, code="package.form")


def check_form(folder: Path) -> None:
    """Refuse a package that asks MLflow for anything but to run its serving file; its names were checked before.

    Raises:
        Corrupt: it does, or installs other than pinned distributions.
    """
    flavors = _yaml(folder / "MLmodel").get("flavors")
    flavor = flavors.get("python_function") if isinstance(flavors, dict) and len(flavors) == 1 else None
    if not isinstance(flavor, dict):
        raise Corrupt("MLmodel has other flavors than python_function", WAY_OUT, code="package.form")
    for name, wanted in EXECUTED.items():
        if flavor.get(name) != wanted:
            raise Corrupt(
                f"MLmodel: {name} is {str(flavor.get(name))[:60]}, which no package has", WAY_OUT, code="package.form"
            )
    _check_lines("requirements.txt", _lines(folder / "requirements.txt"), _REQUIREMENT)
    for name in ("conda.yaml", "python_env.yaml"):
        described = _yaml(folder / name)
        for part in ("dependencies", "build_dependencies"):
            _check_lines(name, _flat(described.get(part)), _DEPENDENCY)
        if described.get("channels", ["conda-forge"]) != ["conda-forge"]:
            raise Corrupt(f"{name} names other channels than conda-forge", WAY_OUT, code="package.form")


def _check_lines(name: str, lines: Iterable[str], pattern: re.Pattern[str]) -> None:
    for line in lines:
        if not pattern.fullmatch(line):
            raise Corrupt(
                f"{name} asks for something else than a pinned distribution: {line[:60]}", WAY_OUT, code="package.form"
            )


def _flat(value: Any) -> list[str]:
    """Return the strings of nested lists and of the values of dicts."""
    if isinstance(value, dict | list):
        return [line for each in (value.values() if isinstance(value, dict) else value) for line in _flat(each)]
    return [] if value is None else [str(value)]


def _yaml(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        # YAML 1.1, as MLflow reads it.
        yaml = YAML(typ="safe", pure=True)
        yaml.version = (1, 1)
        value = yaml.load(_text(path))
    except (YAMLError, ValueError) as error:
        raise Corrupt(f"{path.name} is not YAML: {first_line(error)}", WAY_OUT, code="package.form") from None
    if not isinstance(value, dict):
        raise Corrupt(f"{path.name} does not say anything", WAY_OUT, code="package.form")
    return value


def _lines(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise Corrupt(f"{path.name} is larger than any package's", WAY_OUT, code="package.form")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Corrupt(f"{path.name} cannot be read: {error}", WAY_OUT, code="package.form") from error
