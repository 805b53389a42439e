"""What is wrong with a config, in words: each mistake with its place, its name and the nearest right one."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from modelworks.bounds import kinds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from modelworks.document import Document

    Location = tuple[str | int, ...]
    """Keys and indices from the top of the file down."""

__all__ = ["foreign_values", "in_words", "unknown_expectations"]


def in_words(document: Document, whole: type, error: Mapping[str, Any]) -> str:
    """One of pydantic's errors about a document that should be a `whole`, the class of the complete config."""
    path = tuple(part for part in error["loc"] if part != "[key]")
    location, section = _resolve(whole, path)
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "unexpected_keyword_argument":
        known = _fields(_resolve(whole, path[:-1])[1])
        return _sentence(document, location, f"unknown key{_nearest(str(location[-1]), known)}")
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return _sentence(document, location, "is missing")
    if kind == "union_tag_not_found":
        return _sentence(document, (*location, "kind"), "is missing")
    if kind == "union_tag_invalid":
        known = _quoted(context["expected_tags"])
        return _sentence(
            document, (*location, "kind"), f"there is no {context['tag']!r}{_nearest(context['tag'], known)}"
        )
    if kind == "literal_error":
        known = _quoted(context["expected"])
        return _sentence(document, location, f"there is no {_shown(given)}{_nearest(str(given), known)}")
    if kind == "string_pattern_mismatch":
        return _sentence(document, location, f"{_shown(given)} is not of the form {context['pattern']}")
    if kind == "value_error":
        return _complaint(document, location, str(context["error"]), _fields(section))
    demand = error["msg"].removeprefix("Input ")
    return _sentence(document, location, f"{demand[0].lower()}{demand[1:]}, not {_shown(given)}")


def foreign_values(document: Document) -> list[str]:
    """Values that YAML has and JSON has not, such as dates: no section takes them, and they have no digest."""
    mistakes = []
    for location, value in _leaves(document.values, ()):
        if isinstance(value, float) and not math.isfinite(value):
            mistakes.append(_sentence(document, location, f"{value} is not a finite number"))
        elif not isinstance(value, str | int | float | None):
            mistakes.append(
                _sentence(document, location, f"{value} is a {type(value).__name__} to YAML; write it in quotes")
            )
    return mistakes


def unknown_expectations(document: Document) -> list[str]:
    """Names below `checks.expect` that Great Expectations does not have."""
    from modelworks.validation.vocabulary import known_expectations, nearest

    checks = document.values.get("checks")
    expect = checks.get("expect") if isinstance(checks, dict) else None
    names = [
        (("checks", "expect", index, name), name)
        for index, entry in enumerate(expect if isinstance(expect, list) else ())
        for name in (entry if isinstance(entry, dict) else ())
    ]
    known = known_expectations() if names else ()
    return [
        _sentence(document, location, f"there is no such expectation{nearest(name, known)}")
        for location, name in names
        if name not in known
    ]


def _resolve(whole: type, path: Location) -> tuple[Location, type | None]:
    """Where pydantic's path leads: the location in the file and the section class there, if there is one.

    The path runs through the kinds of unions, as in ("source", "table", "label"), which are no keys in the file.
    """
    location: Location = ()
    section: type | None = whole
    choices: dict[str, type] = {}
    for part in path:
        if choices:
            section, choices = choices[str(part)], {}
            continue
        location += (part,)
        annotation = get_type_hints(section).get(str(part)) if section else None
        options = [each for each in (annotation, *get_args(annotation)) if dataclasses.is_dataclass(each)]
        section = options[0] if len(options) == 1 and isinstance(options[0], type) else None
        choices = kinds(annotation) if len(options) > 1 else {}
    return location, section


def _complaint(document: Document, location: Location, message: str, known: Collection[str]) -> str:
    """A section's own complaint, which begins with the name of the field it is about: there is its line."""
    names = message.partition(" ")[0].split(".")
    place = document.place((*location, *names) if names[0] in known else location)
    section = "".join(f"{part}: " for part in location)
    return f"{place}: {section}{message}"


def _sentence(document: Document, location: Location, text: str) -> str:
    name = ".".join(str(part) for part in location)
    return f"{document.place(location)}: {name}: {text}" if name else f"{document.place(location)}: {text}"


def _fields(section: type | None) -> list[str]:
    return [item.name for item in dataclasses.fields(section)] if dataclasses.is_dataclass(section) else []


def _quoted(listing: str) -> list[str]:
    return re.findall(r"'([^']+)'", listing)


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are: {', '.join(known)}" if known and len(known) <= 12 else ""


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
