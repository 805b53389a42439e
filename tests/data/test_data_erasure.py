"""Forgotten rows are listed once and excluded from data sets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest
from samples.datasets import labelled

from modelworks.data import dataset_format, erasure
from modelworks.data.erasure import Forgotten
from modelworks.data.ingest import ingest, reason_to_work
from modelworks.data.sources import Table
from modelworks.data.sources.base import Examples
from modelworks.errors import BadInput
from modelworks.project import Project

# DVC uses a deprecated class of pygtrie.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

TEXTS = ["one", "two", "three", "two"]
IDS = [hashlib.sha256(text.encode()).hexdigest() for text in TEXTS]


def row(id_: str) -> Forgotten:
    return Forgotten(id=id_, when="2026-11-22T14:00:00+00:00", who="me", reason="")


def pack(folder: Path, ids: frozenset[str]) -> dict[str, object]:
    folder.mkdir()
    columns = {"text": pa.array(TEXTS), "label": pa.array(["a", "b", "a", "b"])}
    dataset_format.write(
        folder, "t", {}, Examples(features=labelled("text"), columns=columns, licence="", source_digest="s"), ids
    )
    return dataset_format.describe(folder)


def test_every_row_with_the_forgotten_content_is_excluded_and_counted(tmp_path: Path) -> None:
    described = pack(tmp_path / "without", frozenset({IDS[1]}))
    assert dataset_format.read(tmp_path / "without")["text"].to_pylist() == ["one", "three"]
    assert (described["rows"], described["forgotten"], described["features"]["label"]["classes"]) == (2, 2, {"a": 2})


def test_data_set_without_forgotten_rows_has_the_same_bytes(tmp_path: Path) -> None:
    pack(tmp_path / "plain", frozenset())
    pack(tmp_path / "asked", frozenset({"f" * 64}))
    for name in ("examples.parquet", "dataset.json"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "asked" / name).read_bytes()


def test_add_keeps_existing_entries(project: Project) -> None:
    assert erasure.forgotten(project) == ()
    erasure.add(project, [row(IDS[0])])
    erasure.add(project, [row(IDS[0]), row(IDS[1])])
    assert erasure.forgotten_ids(project) == {IDS[0], IDS[1]}
    assert len(erasure.forgotten(project)) == 2


@pytest.mark.parametrize(
    "content", ["", "[]", '{"rows": [1]}', '{"rows": [{"id": 1, "when": "", "who": "", "reason": ""}]}']
)
def test_invalid_file_is_rejected(project: Project, content: str) -> None:
    (project.root / "forgotten.json").write_text(content)
    with pytest.raises(BadInput, match=r"forgotten\.json"):
        erasure.forgotten(project)


def test_id_is_found_by_prefix_in_every_data_set(project: Project) -> None:
    for name in ("a", "b"):
        (project.data / name).parent.mkdir(exist_ok=True)
        pack(project.data / name, frozenset())
    assert erasure.known(project, IDS[2][:10]) == {IDS[2]: ["a", "b"]}
    assert erasure.known(project, "f" * 64) == {}
    with pytest.raises(BadInput) as caught:
        erasure.known(project, "..")
    assert caught.value.code == "row.not-an-id"


def test_next_ingest_makes_a_data_version_without_the_row(project: Project) -> None:
    source = Table(kind="table", path="rows.csv", text="text", label="label")
    (project.root / "rows.csv").write_text("text,label\n" + "".join(f"{text},x\n" for text in TEXTS))
    before, _ = ingest(project, source)
    erasure.add(project, [row(IDS[1])])
    assert "forgotten.json changed" in (reason_to_work(project, source) or "")
    after, outcome = ingest(project, source)
    assert (before.rows, after.rows, outcome) == (4, 2, "ran")
    assert after.digest != before.digest
    assert reason_to_work(project, source) is None
    (project.root / "forgotten.json").write_text(json.dumps({"rows": []}))
    assert ingest(project, source)[0].digest == before.digest
