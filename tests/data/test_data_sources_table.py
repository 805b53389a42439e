from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from modelworks.data.sources import Table
from modelworks.errors import BadInput


def source(path: str, **options: Any) -> Table:
    return Table(**{"kind": "table", "path": path, "text": "body", "label": "class", **options})


def columns_of(table: Table, root: Path) -> dict[str, list[str | None]]:
    return {name: column.to_pylist() for name, column in table.read(root).columns.items()}


EXPECTED = {"text": ["first, with comma", "3"], "label": ["NA", "1"], "split": ["train", "test"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'class,body,split,more\nNA,"first, with comma",train,x\n 1 ,3,Test,y\n'),
        ("t.tsv", "class\tbody\tsplit\nNA\tfirst, with comma\ttrain\n1\t3\ttest\n"),
        (
            "t.jsonl",
            '{"class":"NA","body":"first, with comma","split":"train"}\n{"class":"1","body":"3","split":"TEST"}\n',
        ),
        (
            "T.NDJSON",
            '{"body":"first, with comma","class":"NA","split":"training"}\n{"body":"3","class":"1","split":"test"}',
        ),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_format_gives_the_same_columns(tmp_path: Path, name: str, content: str, mark: str) -> None:
    (tmp_path / name).write_text(mark + content, encoding="utf-8")
    assert columns_of(source(name), tmp_path) == EXPECTED


def test_parquet_column_types_are_converted(tmp_path: Path) -> None:
    table = pa.table(
        {
            "body": pa.chunked_array([["first, with comma"], ["3"]]),
            "class": pa.array(["NA", "1"]).dictionary_encode(),
            "split": pa.array(["train", "test"], pa.large_string()),
        }
    )
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    assert columns_of(source("t.parquet"), tmp_path) == EXPECTED


def test_numbers_can_be_class_names(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"body": ["a", "b"], "class": [-1, 1]}), tmp_path / "t.parquet")
    assert columns_of(source("t.parquet"), tmp_path)["label"] == ["-1", "1"]


def test_encoding_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("body,class\nnaïve,x\n".encode("utf-16"))
    assert columns_of(source("t.csv", encoding="utf-16"), tmp_path)["text"] == ["naïve"]


def test_newlines_inside_quotes_are_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('body,class\n"two\nlines",x\n')
    assert columns_of(source("t.csv"), tmp_path)["text"] == ["two\nlines"]


def test_empty_label_is_none_and_empty_text_is_kept(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('body,class\n"",x\nb, \n')
    assert columns_of(source("t.csv"), tmp_path) == {"text": ["", "b"], "label": ["x", None]}
    (tmp_path / "t.jsonl").write_text('{"body": null, "class": "x"}\n{"body": "b", "class": null}\n{"body": "c"}\n')
    assert columns_of(source("t.jsonl"), tmp_path) == {"text": [None, "b", "c"], "label": ["x", None, None]}


def test_text_longer_than_pyarrows_default_block_is_read(tmp_path: Path) -> None:
    long = "word " * 500_000
    (tmp_path / "t.csv").write_text(f"body,class\n{long},x\nshort,y\n")
    (tmp_path / "t.jsonl").write_text(f'{{"body": "{long}", "class": "x"}}\n{{"body": "short", "class": "y"}}\n')
    assert columns_of(source("t.csv"), tmp_path) == columns_of(source("t.jsonl"), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "options", "code", "message"),
    [
        ("t.txt", b"x", {}, "source.unknown-format", ".csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("t.csv", b"", {}, "source.empty", "t.csv"),
        ("t.jsonl", b"\n \n", {}, "source.empty", "t.jsonl"),
        ("t.csv", b"body,class\n", {}, "source.empty", "t.csv"),
        ("t.csv", b"body,kind\na,x\n", {}, "source.missing-column", "source.label: {path} has no column 'class'"),
        ("t.csv", b"Body,class\na,x\n", {}, "source.missing-column", "source.text: {path} has no column 'body'"),
        ("t.csv", b"body,body,class\na,b,x\n", {}, "source.missing-column", "2 columns called 'body'"),
        ("t.csv", b"body,class\na,x\n", {"split": "fold"}, "source.missing-column", "source.split: {path}"),
        ("t.csv", b"body,class,split\na,x,train\nb,y,holdout\n", {}, "source.unknown-split", "'holdout' in row 1"),
        ("t.csv", b"body,class,split\na,x,\n", {}, "source.unknown-split", "'' in row 0"),
        ("t.csv", b"body,class\na,x\nb\xe9,y\n", {}, "source.encoding", "{path} line 3 is not utf-8: byte 0xe9"),
        ("t.csv", b"body,class\na,x\n", {"encoding": "utf-9"}, "source.unknown-encoding", "'utf-9'"),
        ("t.csv", b"body,class\na,x,1\n", {}, "source.malformed", "CSV: "),
        ("t.jsonl", b'{"body": "a"', {}, "source.malformed", "JSONL: "),
        ("t.jsonl", b'{"body": ["a"], "class": "x"}', {}, "source.column-type", "column 'body' of {path}"),
        ("t.parquet", b"PAR1 and nothing else", {}, "source.malformed", "Parquet: "),
    ],
)
def test_unusable_table_is_rejected(
    tmp_path: Path, name: str, content: bytes, options: dict[str, str], code: str, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as bad:
        source(name, **options).read(tmp_path)
    assert bad.value.code == code
    assert message.format(path=tmp_path / name) in bad.value.message
    assert bad.value.message.count("\n") == 0
    assert bad.value.hint


def test_path_that_is_not_a_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.csv") as caught:
        source("nowhere.csv").fingerprint(tmp_path)
    assert caught.value.code == "source.missing"
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadInput, match=r"folder\.csv") as caught:
        source("folder.csv").read(tmp_path)
    assert caught.value.code == "source.missing"


def test_further_columns_are_kept_as_strings(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("words,class,age\nhello,a,3\nworld,b,40\n")
    table = Table(kind="table", path="rows.csv", text="words", label="class", keep=("age",))
    assert table.read(tmp_path).columns["age"].to_pylist() == ["3", "40"]
    with pytest.raises(ValueError, match=r"^keep: class "):
        Table(kind="table", path="rows.csv", text="words", label="class", keep=("class",))
    missing = Table(kind="table", path="rows.csv", text="words", label="class", keep=("place",))
    with pytest.raises(BadInput, match=r"source\.keep: .*'place'") as caught:
        missing.read(tmp_path)
    assert caught.value.code == "source.missing-column"


def test_one_column_cannot_be_input_and_target() -> None:
    with pytest.raises(ValueError, match="three different columns"):
        source("t.csv", label="body")


def test_changed_file_changes_fingerprint_and_digest(tmp_path: Path) -> None:
    table = source("t.csv")
    (tmp_path / "t.csv").write_text("body,class\na,x\n")
    before = table.fingerprint(tmp_path), table.read(tmp_path).source_digest
    (tmp_path / "t.csv").write_text("body,class\na,xy\n")
    after = table.fingerprint(tmp_path), table.read(tmp_path).source_digest
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_features_are_known_before_the_table_is_read() -> None:
    assert source("t.csv").features == {"text": {"kind": "text"}, "label": {"kind": "label"}}
    numbers = Table(kind="table", path="t.csv", image="file", number="price")
    assert numbers.features == {"image": {"kind": "image"}, "number": {"kind": "number"}}
    topics = Table(kind="table", path="t.csv", text="body", labels="topics")
    assert topics.features == {"text": {"kind": "text"}, "labels": {"kind": "labels"}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "body"}, "path: .*give one of label, labels, number"),
        ({"label": "class"}, "path: .*give one of text, image"),
        ({"text": "a", "image": "b", "label": "c"}, "image and text .*give one of text, image"),
        ({"text": "a", "label": "b", "number": "c"}, "number and label .*give one of label"),
        ({"text": "a", "labels": "b", "separator": ""}, "separator is empty"),
        ({"image": "a", "label": "b", "keep": ("path",)}, "keep: path "),
    ],
)
def test_section_needs_exactly_one_input_and_one_target(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Table(kind="table", path="t.csv", **options)


def test_cells_that_are_not_finite_numbers_are_null_and_counted(tmp_path: Path) -> None:
    table = Table(kind="table", path="t.csv", text="body", number="price")
    cells = ["3", " -2.5e3 ", "", "abc", "nan", "inf", "1_000", "3,5"]
    (tmp_path / "t.csv").write_text("body,price\n" + "".join(f'b,"{cell}"\n' for cell in cells))
    examples = table.read(tmp_path)
    assert examples.columns["number"].type == pa.float64()
    assert examples.columns["number"].to_pylist() == [3.0, -2500.0, None, None, None, None, None, None]
    assert examples.details == {"cells that are no finite number": "6, e.g. '' in row 2"}


def test_numbers_of_any_type_are_read(tmp_path: Path) -> None:
    values = pa.table({"body": ["a", "b", "c"], "price": pa.array([1, None, 3], pa.int32())})
    pa.parquet.write_table(values, tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text('{"body":"a","price":1}\n{"body":"b","price":null}\n{"body":"c","price":3.0}')
    for name in ("t.parquet", "t.jsonl"):
        table = Table(kind="table", path=name, text="body", number="price")
        assert table.read(tmp_path).columns["number"].to_pylist() == [1.0, None, 3.0]


def test_multiple_classes_are_split_sorted_and_unique(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("body,topics\na,news| sport |news\nb,\nc,|art\n")
    found = Table(kind="table", path="t.csv", text="body", labels="topics").read(tmp_path).columns["labels"]
    assert found.type == pa.list_(pa.string())
    assert found.to_pylist() == [["news", "sport"], [], ["art"]]
    (tmp_path / "s.csv").write_text("body,topics\na,news;sport\n")
    table = Table(kind="table", path="s.csv", text="body", labels="topics", separator=";")
    assert table.read(tmp_path).columns["labels"].to_pylist() == [["news", "sport"]]


def test_multiple_classes_may_be_lists(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"body":"a","topics":["sport","news"]}\n{"body":"b","topics":[]}\n{"body":"c","topics":null}\n'
    )
    pa.parquet.write_table(
        pa.table({"body": ["a", "b", "c"], "topics": [["sport", "news"], [], None]}), tmp_path / "t.parquet"
    )
    for name in ("t.jsonl", "t.parquet"):
        table = Table(kind="table", path=name, text="body", labels="topics")
        assert table.read(tmp_path).columns["labels"].to_pylist() == [["news", "sport"], [], None]
    (tmp_path / "t.jsonl").write_text('{"body":"a","topics":{"sport":1}}\n')
    with pytest.raises(BadInput, match=r"source\.labels: column 'topics' .*struct<") as caught:
        Table(kind="table", path="t.jsonl", text="body", labels="topics").read(tmp_path)
    assert caught.value.code == "source.column-type"


def test_image_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "sources" / "pictures").mkdir(parents=True)
    (tmp_path / "sources" / "pictures" / "one.pgm").write_bytes(b"P5\n1 1\n255\n1")
    (tmp_path / "sources" / "t.csv").write_text("file,price\npictures/one.pgm,1\n,2\n")
    table = Table(kind="table", path="sources/t.csv", image="file", number="price")
    before, examples = table.fingerprint(tmp_path), table.read(tmp_path)
    assert list(examples.columns) == ["path", "image", "number"]
    assert examples.columns["image"].to_pylist() == [b"P5\n1 1\n255\n1", None]
    assert examples.columns["path"].to_pylist() == ["pictures/one.pgm", ""]

    (tmp_path / "sources" / "pictures" / "one.pgm").write_bytes(b"P5\n2 1\n255\n12")
    assert table.fingerprint(tmp_path) != before
    assert table.read(tmp_path).source_digest != examples.source_digest

    (tmp_path / "sources" / "pictures" / "one.pgm").unlink()
    assert table.fingerprint(tmp_path) != before
    with pytest.raises(BadInput, match=r"source\.image: .*t\.csv .*'pictures/one\.pgm' in row 0, .*No such") as caught:
        table.read(tmp_path)
    assert caught.value.code == "source.image-unreadable"
