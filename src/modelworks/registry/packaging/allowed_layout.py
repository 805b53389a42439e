"""Reject packages that could run or install more than modelworks puts into them.

Digests show that a package is what was registered, also if another program registered it with all tags. So everything
that is executed, loaded or installed is checked: file names, the loader and its code, and the dependencies. Every
package has a file named `__pycache__`, so that Python cannot find compiled code in a folder of that name.
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

HINT = "`modelworks run` did not create this package: delete the version, or promote another"
MODEL = "artifacts/model/"
OUTSIDE = ("MLmodel", SERVING, "requirements.txt", "conda.yaml", "python_env.yaml", "__pycache__")
"""Allowed files outside the saved model."""
INSIDE = (".json", ".safetensors", ".npy", ".txt", ".py")
"""Allowed suffixes in the saved model: none can be a pickle (NumPy reads with `allow_pickle=False`)."""
LARGEST_TEXT = 2**20
"""Maximum bytes of a file outside the saved model."""
_CODE = re.compile(r"code/([A-Za-z_]\w*/)*[A-Za-z_]\w*\.py", re.ASCII)
"""Source files of the saved model, the only files allowed in its subfolders."""
_PIN = r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!_]*"
_REQUIREMENT = re.compile(_PIN)
_DEPENDENCY = re.compile(rf"-r requirements\.txt|(python|pip|setuptools|wheel)([<>=]+[\d.]+)?|{_PIN}")


def check_names(names: Iterable[str]) -> None:
    """Reject file names that are not in the allowed layout; paths are relative, with slashes.

    Raises:
        Corrupt: a path is outside the package, or the file could contain code or a pickle.
    """
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or not all(parts) or {".", ".."} & {*parts}:
            raise Corrupt(f"the package lists a file outside of its folder: {name}", HINT, code="package.form")
        below = name.removeprefix(MODEL)
        inside = ("/" not in below and below.endswith(INSIDE)) or _CODE.fullmatch(below)
        if name not in OUTSIDE and (below == name or not inside):
            raise Corrupt(f"the package has a file that is not allowed: {name}", HINT, code="package.form")


def check_form(folder: Path) -> None:
    """Reject a package with another loader or unpinned requirements. Call `check_names` first.

    Raises:
        Corrupt: MLmodel has another loader, or a requirement is not pinned.
    """
    flavors = _yaml(folder / "MLmodel").get("flavors")
    flavor = flavors.get("python_function") if isinstance(flavors, dict) and len(flavors) == 1 else None
    if not isinstance(flavor, dict):
        raise Corrupt("MLmodel has other flavors than python_function", HINT, code="package.form")
    for name, expected in EXECUTED.items():
        if flavor.get(name) != expected:
            raise Corrupt(
                f"MLmodel: {name} is {str(flavor.get(name))[:60]}, which is not allowed", HINT, code="package.form"
            )
    _check_lines("requirements.txt", _lines(folder / "requirements.txt"), _REQUIREMENT)
    for name in ("conda.yaml", "python_env.yaml"):
        described = _yaml(folder / name)
        for part in ("dependencies", "build_dependencies"):
            _check_lines(name, _flat(described.get(part)), _DEPENDENCY)
        if described.get("channels", ["conda-forge"]) != ["conda-forge"]:
            raise Corrupt(f"{name} has other channels than conda-forge", HINT, code="package.form")


def _check_lines(name: str, lines: Iterable[str], pattern: re.Pattern[str]) -> None:
    for line in lines:
        if not pattern.fullmatch(line):
            raise Corrupt(f"{name} has a requirement that is not pinned: {line[:60]}", HINT, code="package.form")


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
        raise Corrupt(f"{path.name} is not YAML: {first_line(error)}", HINT, code="package.form") from None
    if not isinstance(value, dict):
        raise Corrupt(f"{path.name} is empty or not a mapping", HINT, code="package.form")
    return value


def _lines(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise Corrupt(f"{path.name} is too large", HINT, code="package.form")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Corrupt(f"{path.name} cannot be read: {error}", HINT, code="package.form") from error
