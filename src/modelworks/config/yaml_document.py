"""Read a YAML file, apply overrides, and find the line of each value."""

from __future__ import annotations

import difflib
import io
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ruamel.yaml import YAML

__all__ = ["Document", "yaml_text"]


@dataclass
class Document:
    """The mapping in a YAML file; `override` changes it in memory only."""

    path: Path
    text: str
    values: dict[str, Any]
    overrides: dict[tuple[str, ...], str] = field(default_factory=dict)
    """The command line override of a key, by the key's location."""

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file.

        Raises:
            BadInput: the file is missing, not YAML, not a mapping, or has a key twice.
        """
        text = _text(path)
        return cls(path, text, _mapping(path, text))

    def override(self, assignment: str) -> None:
        """Set one value, as in `train.epochs=3`; the text after the equals sign is YAML.

        Raises:
            BadInput: the form is wrong, or a part of the name is not a section.
        """
        from ruamel.yaml.error import YAMLError

        example = "e.g. --set train.epochs=3"
        name, equals, text = assignment.partition("=")
        keys = tuple(name.split("."))
        if not equals or not all(keys):
            raise BadInput(
                f"--set {assignment}: not of the form section.key=value", example, code="config.override-form"
            )
        try:
            value = _yaml().load(text)
        except YAMLError:
            raise BadInput(
                f"--set {assignment}: {text!r} is not a YAML value", example, code="config.override-value"
            ) from None
        section: Any = self.values
        for key in keys[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise BadInput(f"--set {assignment}: {key} is not a section", example, code="config.override-section")
        section[keys[-1]] = value
        self.overrides[keys] = assignment

    def place(self, location: Sequence[str | int]) -> str:
        """Return where the value at a location was given: `FILE:LINE`, or `--set NAME=VALUE`."""
        assignment = self.assignment(location)
        return f"{self.path}:{self.line(location)}" if assignment is None else f"--set {assignment}"

    def assignment(self, location: Sequence[str | int]) -> str | None:
        """Return the override that set the value at a location or its section.

        None if the file set it.
        """
        names = tuple(str(part) for part in location)
        given = (self.overrides.get(names[:depth]) for depth in range(len(names), 0, -1))
        return next((assignment for assignment in given if assignment is not None), None)

    def line(self, location: Sequence[str | int]) -> int:
        """Return the line of the deepest part of a location that is in the file."""
        node, line = self._tree, 1
        for part in location:
            if isinstance(part, int) and node.id == "sequence" and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
                continue
            entries = node.value if node.id == "mapping" else []
            found = next((entry for entry in entries if entry[0].value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line

    @cached_property
    def _tree(self) -> Any:  # a ruamel node; its library is untyped here
        return _yaml().compose(self.text)


def yaml_text(values: Mapping[str, Any]) -> str:
    """Write JSON values as YAML, in their order."""
    yaml = _yaml()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        existing = sorted(each.name for each in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, existing, n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else f"use one of: {', '.join(existing) or 'none'}"
        raise BadInput(f"{path}: no such config", hint, code="config.missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path}: cannot be read: {error}",
            "give the path of a YAML file, e.g. configs/mnist_cnn.yaml",
            code="config.unreadable",
        ) from None


def _mapping(path: Path, text: str) -> dict[str, Any]:
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        values = _yaml().load(text)
    except DuplicateKeyError as error:
        key = re.search(r'duplicate key "([^"]*)"', str(error.problem))
        name = key.group(1) if key else "a key"
        raise BadInput(
            f"{path}:{error.problem_mark.line + 1}: {name} is given twice",
            "remove one of the two",
            code="config.duplicate-key",
        ) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(
            f"{path}:{line}: not YAML: {error.problem}", "correct that line", code="config.not-yaml"
        ) from None
    except YAMLError as error:
        raise BadInput(
            f"{path}: not YAML: {str(error).splitlines()[0]}", "correct the file", code="config.not-yaml"
        ) from None
    if not isinstance(values, dict):
        hint = "see configs/mnist_cnn.yaml"
        raise BadInput(
            f"{path}: not a config: expected keys such as name, source, model", hint, code="config.not-a-config"
        )
    return values


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True)  # libyaml reads only YAML 1.1, where 1e-3 is a string and `no` is false
