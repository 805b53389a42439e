"""`modelworks trace`: show a version's lineage, or the versions that were trained on a row."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from modelworks.cli.output import print_json
from modelworks.errors import BadInput, Refused
from modelworks.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.versions.training_row_index import Holders

__all__ = ["trace"]

SHOWN = 5
"""Maximum number of ids that are listed for an ambiguous prefix."""


def trace(target: str, number: int | None, row: str, *, as_json: bool) -> None:
    """Print a version's lineage, or the versions that were trained on a row.

    Raises:
        BadInput: neither or both are given, or the version or row does not exist.
        Refused: a production version was trained on a forgotten row.
    """
    from modelworks.registry.backend.tracking_store import connect

    if bool(target) == bool(row):
        raise BadInput(
            "trace needs either a version or a row",
            "run e.g. modelworks trace mnist-cnn, or modelworks trace --row 1f2e3d",
            code="arguments.trace",
        )
    project = Project.find()
    project.enter()
    project.make_private_folders()
    client = connect(project)
    if row:
        _trace_row(client, project, row.lower(), as_json=as_json)
    else:
        _trace_version(client, target, number, as_json=as_json)


def _trace_version(client: MlflowClient, target: str, number: int | None, *, as_json: bool) -> None:
    from modelworks.registry.production import audit_queries
    from modelworks.registry.versions import lineage_graph, provenance_record, queries
    from modelworks.registry.versions.references import named

    version = named(client, target, number)
    recorded = provenance_record.read(client, version)
    production = queries.production(client, version.name)
    steps = lineage_graph.provenance_steps(recorded.evaluation, recorded.provenance)
    root = lineage_graph.chain(
        steps, lineage_graph.version_step(version, audit_queries.history(client, version.name), production)
    )
    if as_json:
        print_json(
            {
                "model": version.name,
                "version": version.version,
                "production": version.version == production,
                "ancestry": dataclasses.asdict(root),
                "making": dataclasses.asdict(recorded.provenance),
            }
        )
    else:
        print(lineage_graph.tree(root))


def _trace_row(client: MlflowClient, project: Project, prefix: str, *, as_json: bool) -> None:
    from modelworks.data.erasure import forgotten, known
    from modelworks.registry.versions.training_row_index import trained_on

    here = known(project, prefix)  # raises if the prefix is not hexadecimal
    found = trained_on(client, project, prefix)
    marked = {row.id: row for row in forgotten(project) if row.id.startswith(prefix)}
    row = _resolve(prefix, {*here, *marked}, found)
    mark = marked.get(row)
    if as_json:
        print_json(
            {
                "row": row,
                "data": here.get(row, []),
                "forgotten": dataclasses.asdict(mark) if mark else None,
                "versions": [dataclasses.asdict(each) for each in found.holders],
                "asked": found.asked,
                "unknown": list(found.unknown),
            }
        )
    else:
        print("\n".join(_lines(row, here.get(row, []), found)))
        if mark:
            print(f"forgotten since {mark.when}, by {mark.who}: {mark.reason or 'no reason given'}")
    trained = [f"{each.model} version {each.version}" for each in found.holders if each.production]
    if mark and trained:
        raise Refused(
            f"{', '.join(trained)} is production and was trained on a forgotten row",
            "run its config: it trains a version without the row and promotes it if the gate accepts it",
            code="production.forgotten-row",
        ).after_output()


def _resolve(prefix: str, full: set[str], found: Holders) -> str:
    """Return the row id for a prefix; only its first 16 digits if versions recorded no more.

    Raises:
        BadInput: no id or several ids match.
    """
    # Versions record a prefix of each id: of a row in data/, or of one that is no longer there.
    rows = sorted(full | {each for each in found.ids if not any(each == known[: len(each)] for known in full)})
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise BadInput(
            f"no row has an id that starts with {prefix}",
            "see the column id of data/*/examples.parquet",
            code="row.unknown",
        )
    shown = ", ".join(rows[:SHOWN]) + (", ..." if len(rows) > SHOWN else "")
    raise BadInput(
        f"{prefix} is a prefix of {len(rows):,} ids: {shown}", "give more digits of the id", code="row.ambiguous"
    )


def _lines(row: str, data: list[str], found: Holders) -> list[str]:
    where = f"in data {', '.join(data)}" if data else "in no current data set"
    lines = [f"row {row}: {where}; {len(found.holders)} of {found.asked} versions were trained on it"]
    lines += [
        f"  {each.model} version {each.version}{'  production' if each.production else ''}" for each in found.holders
    ]
    return [*lines, *(f"  {each}: unknown, not registered by modelworks" for each in found.unknown)]
