"""Tables in files, folders and memory: the same rows, or one line that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lantern_probe.errors import LanternError
from lantern_probe.tasks.fields import Skipped
from lantern_probe.tasks.tables import read_table
from lantern_probe.tasks.text_tables import typed_column

ROWS = [
    {"id": "1", "question": 'a, "b"?', "text": "one\ntwo"},
    {"id": "2", "question": "c\td; |", "text": None},
    {"id": "3", "question": "ümlaut 白", "text": "x"},
]


def rows_of(source: Any, **how: Any) -> list[dict[str, Any]]:
    return [dict(row.fields) for row in read_table(source, **how).rows]


def delimited(delimiter: str, end: str = "\n") -> str:
    frame = pd.DataFrame(ROWS)
    return str(frame.to_csv(sep=delimiter, index=False, lineterminator=end))


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.csv", delimited(","), "utf-8"),
        ("a.csv", delimited(";"), "utf-8-sig"),
        ("a.csv", delimited(",", "\r\n"), "utf-8"),
        ("a.csv", delimited("|"), "utf-16"),
        ("a.txt", delimited("\t"), "utf-8"),
        ("a.tsv", delimited("\t", "\r\n"), "utf-8-sig"),
        ("a.jsonl", "\n".join(map(json.dumps, ROWS)), "utf-8"),
        ("a.jsonl", "\r\n".join(map(json.dumps, ROWS)), "utf-16"),
        ("a.json", json.dumps(ROWS, indent=1), "utf-8-sig"),
        ("a.csv", "\n".join(map(json.dumps, ROWS)), "utf-8"),
    ],
)
def test_the_same_rows_in_every_text_file(
    tmp_path: Path, name: str, text: str, encoding: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    assert rows_of(path) == ROWS


def test_the_same_rows_in_memory_parquet_and_folders(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(str(tmp_path / "saved"))
    splits = datasets.DatasetDict({"train": saved.select([0]), "test": saved})
    splits.save_to_disk(str(tmp_path / "splits"))
    shards = tmp_path / "shards" / "data"
    shards.mkdir(parents=True)
    for number, part in enumerate((ROWS[:2], ROWS[2:])):
        pq.write_table(pa.Table.from_pylist(part), shards / f"test-{number}-of-2.parquet")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    for source in (
        *(tmp_path / name for name in ("a.parquet", "saved", "shards", "alone")),
        *(saved, table, ROWS, iter(ROWS)),
    ):
        assert rows_of(source) == ROWS
    for source in (tmp_path / "splits", splits):
        assert rows_of(source, split="test") == ROWS
        with pytest.raises(LanternError, match=r"splits train, test, and .* \(--split\)"):
            rows_of(source)
        with pytest.raises(LanternError, match="there is no 'val'"):
            rows_of(source, split="val")
    frame = rows_of(pd.DataFrame(ROWS))
    assert [row["question"] for row in frame] == [row["question"] for row in ROWS]


def test_names_of_classes_and_numpy_cells_become_plain(tmp_path: Path) -> None:
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=["no", "yes"]), "n": datasets.Value("int64")}
    )
    saved = datasets.Dataset.from_dict({"label": [1, 0], "n": [1, 2]}, features=features)
    saved.save_to_disk(str(tmp_path / "saved"))
    saved.to_parquet(str(tmp_path / "a.parquet"))
    for source in (tmp_path / "saved", tmp_path / "a.parquet", saved):
        assert rows_of(source) == [{"label": "yes", "n": 1}, {"label": "no", "n": 2}]
    (row,) = rows_of(
        [{"box": np.array([1.5, 2]), "n": np.int64(3), "texts": np.array(["a"], object)}]
    )
    assert row == {"box": [1.5, 2.0], "n": 3, "texts": ["a"]} and type(row["n"]) is int


def test_cells_may_be_longer_than_the_limit_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("index\timage\n1\t" + "x" * 400_000 + "\n")
    assert len(rows_of(path)[0]["image"]) == 400_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"a,b\n", "no rows"),
        (b"a,a\n1,2\n", "2 columns 'a'"),
        (b'a,b\n1,"2\n3,4\n', "line 2: a quote is opened and never closed"),
        (b"a,b\n1,2\n3\n", r"line 3: 1 cells for 2 columns.*--malformed skip"),
        (b"a,b\n1,2,3\n", "line 2: 3 cells for 2 columns"),
        (b'a,b\n"1"x,2\n', "line 2: .*quotes inside it are doubled"),
        (b"a,b\n\xe9,2\n", "line 2: not UTF-8 .*save it as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "encoding is UTF-16"),
        (b"\xff\xfea\x00\x00", "no valid UTF-16"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"<!doctype html>", "web page"),
        (b"PAR1 and no more", "is it whole, and Parquet?"),
    ],
)
def test_broken_tables_are_named_in_one_line(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(LanternError, match=said) as caught:
        read_table(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_rows_that_cannot_be_read_are_counted_and_empty_lines_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\n a , b\n1,\n\n2\n"3"x,4\n5,nan,,\n')
    skipped = Skipped()
    table = read_table(path, None, skipped)
    assert [dict(row.fields) for row in table.rows] == [
        {"a": "1", "b": None},
        {"a": "5", "b": None},
    ]
    assert table.rows[1].where.endswith("line 7") and len(skipped.messages) == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere.csv", "no file or folder"),
        ({"a": [1]}, "is no table"),
        ([1, 2], "is no table"),
        ([], "no rows"),
    ],
)
def test_what_is_no_table_is_refused(source: Any, said: str) -> None:
    with pytest.raises(LanternError, match=said):
        read_table(source)


def test_a_folder_of_several_tables_is_refused_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(LanternError, match=r"is a file, and only folders have splits"):
        read_table(tmp_path / "a.csv", "test")
    (tmp_path / "b.jsonl").write_text('{"a": 1}')
    with pytest.raises(LanternError, match=r"a\.csv, b\.jsonl; give the file itself"):
        read_table(tmp_path)


def test_a_folder_of_images_has_its_metadata(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "metadata.csv").write_text(f"file_name,question\n{split}.png,q\n")
    table = read_table(tmp_path, "test")
    assert rows_of(tmp_path, split="test") == [{"file_name": "test.png", "question": "q"}]
    assert table.folder == tmp_path / "test" and rows_of(tmp_path / "train")


def test_text_columns_of_numbers_become_numbers() -> None:
    assert typed_column(["1", None, "-2"]) == [1, None, -2]
    assert typed_column(["1", "2.5"]) == [1.0, 2.5]
    assert typed_column(["007", "1"]) == ["007", "1"]
    assert typed_column([None]) == [None]
