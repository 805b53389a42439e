"""`modelworks forget`: exclude rows from future data versions and their models."""

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
    """Add rows to forgotten.json; add none if one of the ids cannot be resolved.

    Raises:
        BadInput: an id is in no data set, or is a prefix of several ids.
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
        print(f"{each}  {f'already forgotten, since {before[each].when}' if each in before else 'forgotten'}")
    if new:
        print(
            f"They were added to {FILE}: commit it. The next run excludes them from its data. Existing data versions "
            "and models still contain them: `modelworks trace --row ID` lists the models"
        )


def _resolve(project: Project, prefix: str, before: dict[str, Forgotten]) -> str:
    """Return the full id for a prefix."""
    from modelworks.data.erasure import known

    found = sorted({*known(project, prefix), *(each for each in before if each.startswith(prefix))})
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadInput(
            f"no row in data/ has an id that starts with {prefix}; nothing was written",
            "see the column id of data/*/examples.parquet; run a config to create its data",
            code="row.unknown",
        )
    shown = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    raise BadInput(
        f"{prefix} is a prefix of {len(found):,} ids: {shown}; nothing was written",
        "give more digits of the id",
        code="row.ambiguous",
    )
