"""What is wrong with a config, in words: each mistake with its place, its name and the nearest right one."""

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
    """Keys and indices from the top of the file down."""

__all__ = ["in_words"]


MOVED: Mapping[Location, tuple[str, str]] = {
    ("train", "label_smoothing"): ("objective", "kind: classification"),
    ("train", "class_weights"): ("objective", "kind: classification"),
}
"""Fields that earlier versions had elsewhere: their section now, and what that section needs beside them."""


def in_words(document: Document, whole: type, errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """All that is wrong with a document, from its top down, what was given on the command line last.

    Args:
        whole: the class of the complete config.
        errors: what pydantic says of the document as a `whole`.
    """
    secret = dict(_secrets(document))
    foreign = {**dict(_foreign_values(document)), **secret}
    found = [*foreign.items(), *_unknown_expectations(document)]
    errors = list(_one_by_one(errors))
    misspelt = {place for error in errors if (place := _meant(whole, error))}
    for error in errors:
        location, text = _phrase(whole, error)
        if location not in foreign and location not in misspelt:
            found.append((location, text))
    found.sort(key=lambda mistake: (document.assignment(mistake[0]) is not None, document.line(mistake[0])))
    # Of what was given as --set NAME=VALUE, the value is left out if it is secret.
    places = (document.place(each).partition("=")[0] if each in secret else document.place(each) for each, _ in found)
    return [f"{place}: {text}" for place, (_, text) in zip(places, found, strict=True)]


def _one_by_one(errors: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The errors; a section's own complaint of several lines is one error per line."""
    for error in errors:
        if error["type"] == "value_error":
            for line in str(error["ctx"]["error"]).splitlines():
                yield {**error, "ctx": {"error": line}}
        else:
            yield error


def _phrase(whole: type, error: Mapping[str, Any]) -> tuple[Location, str]:
    """Where one of pydantic's errors is in the file, and its words."""
    path = tuple(part for part in error["loc"] if part != "[key]")
    location, section = _resolve(whole, path)
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "unexpected_keyword_argument":
        if location in MOVED:
            section_name, given_there = MOVED[location]
            written = f"{section_name}: {{{given_there}, {location[-1]}: {_shown(given)}}}"
            return location, f"{_name(location)}: belongs to another section now; write {written}"
        known = _fields(_resolve(whole, path[:-1])[1])
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
        return _complaint(location, str(context["error"]), _fields(section))
    demand = error["msg"].removeprefix("Input ")
    return location, f"{_name(location)}: {demand[0].lower()}{demand[1:]}, not {_shown(given)}"


def _meant(whole: type, error: Mapping[str, Any]) -> Location | None:
    """Where an unknown key would have been right, spelt as it was probably meant: it is not missing as well."""
    if error["type"] != "unexpected_keyword_argument":
        return None
    path = tuple(part for part in error["loc"] if part != "[key]")
    near = difflib.get_close_matches(str(path[-1]), _fields(_resolve(whole, path[:-1])[1]), n=1)
    return (*_resolve(whole, path)[0][:-1], *near) if near else None


def _complaint(location: Location, message: str, known: Collection[str]) -> tuple[Location, str]:
    """A section's own complaint, which begins with the name of the field it is about: there is its line."""
    names = message.partition(" ")[0].split(".")
    text = f"{_name(location)}: {message}" if location else message
    return (*location, *names) if names[0] in known else location, text


def _foreign_values(document: Document) -> Iterator[tuple[Location, str]]:
    """Values that YAML has and JSON has not, such as dates: no section takes them, and they have no digest."""
    for location, value in _leaves(document.values, ()):
        if isinstance(value, float) and not math.isfinite(value):
            yield location, f"{_name(location)}: {value} is not a finite number"
        elif not isinstance(value, str | int | float | None):
            kind = type(value).__name__
            yield location, f"{_name(location)}: {value} is a {kind} to YAML; write it in quotes"


def _secrets(document: Document) -> Iterator[tuple[Location, str]]:
    """Values that must not be written down, and a config is: it is kept with every run and every version."""
    for location, value in _leaves(document.values, ()):
        likeness = looks_secret(value) if isinstance(value, str) else ""
        if likeness:
            yield location, f"{_name(location)}: holds {likeness}; leave it to the environment, which is kept nowhere"


def _unknown_expectations(document: Document) -> Iterator[tuple[Location, str]]:
    """Names below `checks.expect` that Great Expectations does not have."""
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
