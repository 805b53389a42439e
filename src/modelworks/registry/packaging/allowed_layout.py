"""The form that every package of ours has, and nothing else may have: no pickle, one known way to be loaded.

The digests say that a package is what was registered. This says that what was registered cannot run anything but its
own serving file and its model's sources: also of a version that something else put into the registry, tags and all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from modelworks.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["check_form", "check_names"]

WAY_OUT = "it was not made by `modelworks run`: delete that version, or promote another"
SERVING = "serving.py"
MODEL = "artifacts/model/"
OUTSIDE = ("MLmodel", SERVING, "requirements.txt", "conda.yaml", "python_env.yaml", "__pycache__")
"""Beside the saved model. `__pycache__` is a file that keeps Python from a folder of that name."""
INSIDE = (".json", ".safetensors", ".npy", ".txt", ".py")
"""Endings of the saved model's files: none can hold a pickle (NumPy reads with `allow_pickle=False`)."""
LARGEST_TEXT = 2**20
"""Bytes of a file beside the saved model."""
FLAVOR = {
    "loader_module": "mlflow.pyfunc.loaders.code_model",
    "model_code_path": SERVING,
    "artifacts": {"model": {"path": "artifacts/model", "uri": "artifacts/model"}},
    "code": None,
    "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
}
"""What MLflow would run, read and install."""
SILENT = ("cloudpickle_version", "python_version", "streamable")
"""What else MLflow writes there; it leads to no code."""
_PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!_]*")


def check_names(names: Iterable[str]) -> None:
    """Refuse file names that no package of ours has; paths are relative, with slashes.

    Raises:
        Corrupt: a name leads outside, or is of a kind that could hold code or a pickle.
    """
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or not all(parts) or {".", ".."} & {*parts}:
            raise Corrupt(f"the package names a file outside of itself: {name}", WAY_OUT)
        below = name.removeprefix(MODEL)
        if name not in OUTSIDE and not (below != name and "/" not in below and below.endswith(INSIDE)):
            raise Corrupt(f"the package holds a file that no package has: {name}", WAY_OUT)


def check_form(folder: Path) -> None:
    """Refuse a package that asks MLflow for anything but to run its serving file; its names were checked before.

    Raises:
        Corrupt: it does, or installs other than pinned distributions.
    """
    described = _yaml(folder / "MLmodel")
    flavors = described.get("flavors")
    flavor = flavors.get("python_function") if isinstance(flavors, dict) and len(flavors) == 1 else None
    if not isinstance(flavor, dict):
        raise Corrupt("MLmodel has other flavors than python_function", WAY_OUT)
    for name in sorted({*FLAVOR, *flavor} - {*SILENT}):
        if flavor.get(name) != FLAVOR.get(name):
            raise Corrupt(f"MLmodel: {name} is {str(flavor.get(name))[:60]}, which no package has", WAY_OUT)
    pins = _lines(folder / "requirements.txt")
    conda, virtual = _yaml(folder / "conda.yaml"), _yaml(folder / "python_env.yaml")
    _check_pins("requirements.txt", pins)
    dependencies = conda.get("dependencies", [])
    inner = [each for each in dependencies if isinstance(each, dict)]
    if conda.get("channels") != ["conda-forge"] or inner != [{"pip": pins}]:
        raise Corrupt("conda.yaml asks for something else than requirements.txt", WAY_OUT)
    if any(not re.fullmatch(r"(python|pip)[<>=]+[\d.]+", each) for each in dependencies if isinstance(each, str)):
        raise Corrupt("conda.yaml asks for more than Python and pip", WAY_OUT)
    if virtual.get("dependencies") != ["-r requirements.txt"]:
        raise Corrupt("python_env.yaml asks for something else than requirements.txt", WAY_OUT)
    tools = [each for each in virtual.get("build_dependencies", []) if each != "wheel"]
    _check_pins("python_env.yaml", tools)


def _check_pins(name: str, lines: Iterable[Any]) -> None:
    for line in lines:
        if not _PIN.fullmatch(str(line)):
            raise Corrupt(f"{name} asks for something else than a pinned distribution: {str(line)[:60]}", WAY_OUT)


def _yaml(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        # YAML 1.1, as MLflow reads it.
        yaml = YAML(typ="safe", pure=True)
        yaml.version = (1, 1)
        value = yaml.load(_text(path))
    except (YAMLError, ValueError) as error:
        raise Corrupt(f"{path.name} is not YAML: {str(error).splitlines()[0]}", WAY_OUT) from None
    if not isinstance(value, dict):
        raise Corrupt(f"{path.name} does not say anything", WAY_OUT)
    return value


def _lines(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise Corrupt(f"{path.name} is larger than any package's", WAY_OUT)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Corrupt(f"{path.name} cannot be read: {error}", WAY_OUT) from error
