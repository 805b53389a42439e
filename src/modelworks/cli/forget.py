"""`modelworks forget`: rows that the next data version, and every model after it, is without."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelworks.cli.output import print_json
from modelworks.errors import BadInput
from modelworks.project import Project

if TYPE_CHECKING:
    from modelworks.data.erasure import Forgotten

__all__ = ["forget"]

SHOWN = 5


def forget(prefixes: Sequence[str], reason: str, *, as_json: bool) -> None:
    """Write rows down as to be forgotten; all of them, or none when one cannot be told.

    Raises:
        BadInput: an id is not in any data set, or is the beginning of several.
    """
    from modelworks.data.erasure import FILE, Forgotten, add, forgotten
    from modelworks.files.locks import locked

    project = Project.find()
    project.make_private_folders()
    with locked(project.locks / "data.lock", "forgetting rows"):
        before = {row.id: row for row in forgotten(project)}
        chosen = {_resolve(project, prefix.lower(), before): None for prefix in prefixes}
        when = datetime.now(UTC).isoformat(timespec="seconds")
        new = [
            Forgotten(id=each, when=when, who=getpass.getuser(), reason=reason) for each in chosen if each not in before
        ]
        if new:
            add(project, new)
    if as_json:
        print_json({"forgotten": [asdict(row) for row in new], "before": [each for each in chosen if each in before]})
        return
    for each in chosen:
        print(f"{each}  {f'was to be forgotten already, since {before[each].when}' if each in before else 'forgotten'}")
    if new:
        print(
            f"{FILE} holds them: commit it. The next run of a config leaves them out of its data; data versions and "
            "models made before keep them: `modelworks trace --row ID` lists the models"
        )


def _resolve(project: Project, prefix: str, before: dict[str, Forgotten]) -> str:
    """The full id that a prefix means."""
    from modelworks.data.erasure import known

    found = sorted({*known(project, prefix), *(each for each in before if each.startswith(prefix))})
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadInput(
            f"no row of data/ has an id that begins with {prefix}; nothing was written",
            "ids are in the column id of data/*/examples.parquet; run a config if its data is not here",
            code="row.unknown",
        )
    shown = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    raise BadInput(
        f"{prefix} is the beginning of {len(found):,} ids: {shown}; nothing was written",
        "give more of its digits",
        code="row.ambiguous",
    )
