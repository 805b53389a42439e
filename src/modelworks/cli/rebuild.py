"""`modelworks rebuild`: train a version again from its record and compare the two."""

from __future__ import annotations

import dataclasses
import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from modelworks.cli.output import print_json
from modelworks.errors import Refused
from modelworks.project import Project
from tasks.display import Display, make_display

if TYPE_CHECKING:
    from modelworks.registry.versions.queries import Registered
    from modelworks.reproduce.reproduce import Rebuilt

__all__ = ["rebuild"]

SHOWN = 5
"""Maximum number of tensors that are printed; --json lists all."""


def rebuild(target: str, number: int | None, *, strict: bool, as_json: bool) -> None:
    """Train a version again and print how it compares with the registered one.

    Raises:
        Refused: the two are not identical.
    """
    from modelworks.registry.backend.tracking_store import connect
    from modelworks.registry.versions.references import named
    from modelworks.reproduce import reproduce

    project = Project.find()
    project.enter()
    project.make_private_folders()
    client = connect(project)
    version = named(client, target, number)
    display = make_display()
    try:
        with _Listener(display) as listener:
            found = reproduce.rebuild(
                client, project, version, strict=strict, say=display.print, on_event=listener.hear
            )
    finally:
        display.close()
    if as_json:
        print_json(_as_object(version, found))
    else:
        print("\n".join(_lines(version, found)))
    if not found.identical:
        raise Refused(
            f"the rebuild of {version.name} version {version.version} is not identical: {_cause(found)}",
            "restore the named ingredients to their recorded values and rebuild again",
            code="rebuild.different",
        ).after_output()


class _Listener:
    """Show the events of the rebuild's process on the display."""

    def __init__(self, display: Display) -> None:
        self._display, self._working = display, ExitStack()

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *_error: object) -> None:
        self._working.close()

    def hear(self, event: dict[str, Any]) -> None:
        if event["type"] == "begin":
            self._working.enter_context(self._display.working(event["stage"]))
        elif event["type"] == "end":
            self._working.close()
            self._display.stage(event["stage"], "ran", event["seconds"], "")
        else:
            self._display.training(event)


def _cause(found: Rebuilt) -> str:
    from modelworks.reproduce.differences import in_words

    if found.causes:
        return in_words(found.causes)
    return "no recorded ingredient differs, so the training is not deterministic (see train.deterministic)"


def _as_object(version: Registered, found: Rebuilt) -> dict[str, Any]:
    comparison = found.comparison
    code, data = found.provenance.code, found.provenance.data
    return {
        "model": version.name,
        "version": version.version,
        "identical": found.identical,
        "commit": code.commit,
        "changes": bool(code.patch),
        "data": data.dataset,
        "data_version": data.digest,
        "tensors": {
            "compared": comparison.tensors,
            "different": [
                {**dataclasses.asdict(each), "largest": _finite(each.largest)} for each in comparison.different_tensors
            ],
        },
        "predictions": {
            "compared": comparison.predictions,
            "different": comparison.different_predictions,
            "flipped": comparison.flipped,
            "largest": _finite(comparison.largest_disagreement),
        },
        "files": list(comparison.different_files),
        "causes": [dataclasses.asdict(each) for each in found.causes],
        "seconds": round(found.seconds, 2),
    }


def _lines(version: Registered, found: Rebuilt) -> list[str]:
    comparison, code = found.comparison, found.provenance.code
    result = "identical" if found.identical else "NOT identical"
    different = len(comparison.different_tensors)
    rows = [
        ("code", f"commit {code.commit}{' with uncommitted changes' if code.patch else ''}"),
        ("data", f"{found.provenance.data.dataset} {found.provenance.data.digest}"),
        ("tensors", f"{comparison.tensors - different} of {comparison.tensors} bitwise equal"),
        *(("", _tensor(each)) for each in comparison.different_tensors[:SHOWN]),
        *([("", f"and {different - SHOWN} more")] if different > SHOWN else []),
        (
            "predictions",
            f"{comparison.predictions - comparison.different_predictions:,} of {comparison.predictions:,} equal"
            + (
                f"; {comparison.flipped:,} with another answer, by up to {comparison.largest_disagreement:.3g}"
                if comparison.different_predictions
                else ""
            ),
        ),
        *(("file", f"{name} differs") for name in comparison.different_files),
        *(("differs", str(cause)) for cause in found.causes),
        ("seconds", f"{found.seconds:.1f}"),
    ]
    return [
        f"{version.name} version {version.version}, rebuilt: {result}",
        *(f"  {name:<12} {value}" for name, value in rows),
    ]


def _tensor(each: Any) -> str:
    if not each.values:
        return f"{each.name}: missing in one of them, or of another shape"
    return f"{each.name}: {each.changed:,} of {each.values:,} values, by up to {each.largest:.3g}"


def _finite(value: float) -> float | None:
    """Return None for infinity and NaN, which JSON cannot represent."""
    return value if math.isfinite(value) else None
