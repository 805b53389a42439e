"""Describe each mistake in a config with its location, its field and the nearest valid name."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from modelworks.redaction import looks_secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from modelworks.config.yaml_document import Document

    Location = tuple[str | int, ...]
    """Keys and indices from the root of the file."""

__all__ = ["in_words"]


MOVED: Mapping[Location, tuple[str, str]] = {
    ("train", "label_smoothing"): ("objective", "kind: classification"),
    ("train", "class_weights"): ("objective", "kind: classification"),
}
"""Fields that earlier releases had in another section: their new section, and what else it needs."""


def in_words(document: Document, root: type, errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a message for each mistake, in the order of the file, command line overrides last.

    Args:
        root: the class of the complete config.
        errors: pydantic's validation errors of the document as a `root`.
    """
    secret = dict(_secrets(document))
    foreign = {**dict(_foreign_values(document)), **secret}
    found = [*foreign.items(), *_unknown_expectations(document)]
    errors = list(_one_by_one(errors))
    misspelt = {place for error in errors if (place := _meant(root, error))}
    for error in errors:
        location, text = _phrase(root, error)
        if location not in foreign and location not in misspelt:
            found.append((location, text))
    found.sort(key=lambda mistake: (document.assignment(mistake[0]) is not None, document.line(mistake[0])))
    # The value of --set NAME=VALUE is left out if it looks like a secret.
    places = (document.place(each).partition("=")[0] if each in secret else document.place(each) for each, _ in found)
    return [f"{place}: {text}" for place, (_, text) in zip(places, found, strict=True)]


def _one_by_one(errors: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the errors, and one error per line of a section's own `ValueError`."""
    for error in errors:
        if error["type"] == "value_error":
            for line in str(error["ctx"]["error"]).splitlines():
                yield {**error, "ctx": {"error": line}}
        else:
            yield error


def _phrase(root: type, error: Mapping[str, Any]) -> tuple[Location, str]:
    """Return the location of a pydantic error in the file, and its message."""
    path = tuple(part for part in error["loc"] if part != "[key]")
    location, section = _resolve(root, path)
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "unexpected_keyword_argument":
        if location in MOVED:
            section_name, given_there = MOVED[location]
            written = f"{section_name}: {{{given_there}, {location[-1]}: {_shown(given)}}}"
            return location, f"{_name(location)}: was moved to another section; write {written}"
        known = _fields(_resolve(root, path[:-1])[1])
        return location, f"{_name(location)}: unknown key{_nearest(str(location[-1]), known)}"
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return location, f"{_name(location)}: is missing"
    if kind == "union_tag_not_found":
        return (*location, "kind"), f"{_name(location)}.kind: is missing"
    if kind == "union_tag_invalid":
        known = _quoted(context["expected_tags"])
        phrase = f"there is no {_shown(context['tag'])}{_nearest(context['tag'], known)}"
        return (*location, "kind"), f"{_name(location)}.kind: {phrase}"
    if kind == "literal_error":
        known = _quoted(context["expected"])
        return location, f"{_name(location)}: there is no {_shown(given)}{_nearest(str(given), known)}"
    if kind == "string_pattern_mismatch":
        return location, f"{_name(location)}: {_shown(given)} is not of the form {context['pattern']}"
    if kind == "value_error":
        return _section_error(location, str(context["error"]), _fields(section))
    message = error["msg"].removeprefix("Input ")
    return location, f"{_name(location)}: {message[0].lower()}{message[1:]}, not {_shown(given)}"


def _meant(root: type, error: Mapping[str, Any]) -> Location | None:
    """Return the location of the key that a misspelt one probably means, to not report it missing."""
    if error["type"] != "unexpected_keyword_argument":
        return None
    path = tuple(part for part in error["loc"] if part != "[key]")
    near = difflib.get_close_matches(str(path[-1]), _fields(_resolve(root, path[:-1])[1]), n=1)
    return (*_resolve(root, path)[0][:-1], *near) if near else None


def _section_error(location: Location, message: str, known: Collection[str]) -> tuple[Location, str]:
    """Return the location and message of a section's own error, which starts with its field."""
    names = message.partition(" ")[0].split(".")
    text = f"{_name(location)}: {message}" if location else message
    return (*location, *names) if names[0] in known else location, text


def _foreign_values(document: Document) -> Iterator[tuple[Location, str]]:
    """Yield values that YAML has and JSON lacks, such as dates: no field accepts them."""
    for location, value in _leaves(document.values, ()):
        if isinstance(value, float) and not math.isfinite(value):
            yield location, f"{_name(location)}: {value} is not a finite number"
        elif not isinstance(value, str | int | float | None):
            kind = type(value).__name__
            yield location, f"{_name(location)}: {value} is a {kind} in YAML; write it in quotes"


def _secrets(document: Document) -> Iterator[tuple[Location, str]]:
    """Yield values that look like secrets: a config is stored with every run and version."""
    for location, value in _leaves(document.values, ()):
        secret = looks_secret(value) if isinstance(value, str) else ""
        if secret:
            yield location, f"{_name(location)}: contains {secret}; set it in the environment, which is not stored"


def _unknown_expectations(document: Document) -> Iterator[tuple[Location, str]]:
    """Yield names in `checks.expect` that Great Expectations does not have."""
    from modelworks.validation.expectation_names import nearest
    from modelworks.validation.great_expectations_internals import known_expectations

    checks = document.values.get("checks")
    expect = checks.get("expect") if isinstance(checks, dict) else None
    names = [
        (index, name)
        for index, entry in enumerate(expect if isinstance(expect, list) else ())
        for name in (entry if isinstance(entry, dict) else ())
    ]
    known = known_expectations() if names else ()
    for index, name in names:
        if name not in known:
            location: Location = ("checks", "expect", index, name)
            yield location, f"{_name(location)}: there is no such expectation{nearest(name, known)}"


def _resolve(root: type, path: Location) -> tuple[Location, type | None]:
    """Return the location in the file for a pydantic path, and the section class there, if any.

    The path includes the kinds of unions, as in ("source", "table", "label"), which are not keys in the file.
    """
    location: Location = ()
    section: type | None = root
    choices: dict[str, type] = {}
    for part in path:
        if choices:
            section, choices = choices[str(part)], {}
            continue
        location += (part,)
        annotation = get_type_hints(section).get(str(part)) if section else None
        options = [each for each in (annotation, *get_args(annotation)) if dataclasses.is_dataclass(each)]
        section = options[0] if len(options) == 1 and isinstance(options[0], type) else None
        choices = _kinds(options) if len(options) > 1 else {}
    return location, section


def _kinds(sections: Iterable[Any]) -> dict[str, type]:
    """Return the section class of each value of `kind`."""
    return {kind: section for section in sections for kind in get_args(get_type_hints(section)["kind"])}


def _name(location: Location) -> str:
    return ".".join(str(part) for part in location) or "the config"


def _fields(section: type | None) -> list[str]:
    return [item.name for item in dataclasses.fields(section)] if dataclasses.is_dataclass(section) else []


def _quoted(listing: str) -> list[str]:
    return re.findall(r"'([^']+)'", listing)


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; use one of: {', '.join(known)}" if known and len(known) <= 12 else ""


def _leaves(value: Any, location: Location) -> Iterator[tuple[Location, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*location, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*location, index))
    else:
        yield location, value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
