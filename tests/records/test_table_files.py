"""Exported tables: every row comes back as it was, and other programs can read them."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe import LanternError, Run
from lantern_probe.records import read_frame, read_table, write_table
from lantern_probe.records.columns import ABSENT, MOST_KEYS, to_columns, to_rows
from lantern_probe.records.rows import Row
from lantern_probe.records.table_files import columns_file, read_runs

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(), max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(["answer", "a.b", "a", "back\\slash", " spaced", "ümlaut,"])
ROWS = st.lists(st.dictionaries(FIELDS, VALUES, max_size=4), min_size=1, max_size=5)

AWKWARD: list[Row] = [
    {"text": 'two\nlines, "quoted"', "answer": "3", "nested": {"A": -0.5, "B.C": [1, None]}},
    {"text": "", "answer": None, "nested": None, "emitted": True},
    {"text": "null", "answer": "null", "nested": {}, "emitted": False, "fed": [8]},
    {"text": "\r\n carriage 漢字 \u2028 🙂 ", "answer": "NaN", "fed": []},
    {"text": "half \ud800", "nested": {"A": 1}, "fed": [8, 8], "tokens": 2**70},
    {"text": "x" * 300_000},
]
"""What makes formats stumble: line breaks, quotes, empty texts, nulls, half characters, length."""


def write_run(folder: Path, rows: list[Row], model: str = "faithful") -> Path:
    with Run.open(folder, {"model": model, "experiment": "test"}) as run:
        for index, row in enumerate(rows):
            run.append({"sample": str(index), "condition": "own", "status": "ok", **row})
    return folder


def recorded(folder: Path) -> list[Row]:
    (run,) = read_runs(folder)
    return run.rows


@given(ROWS)
@settings(deadline=None)
def test_columns_lead_back_to_the_rows(rows: list[Row]) -> None:
    rows = [{"sample": str(index), **row} for index, row in enumerate(rows)]
    assert to_rows(to_columns(rows)) == rows


@pytest.mark.parametrize("to", ["csv", "parquet"])
@given(rows=ROWS)
@settings(deadline=None, max_examples=40)
def test_files_lead_back_to_the_rows(
    tmp_path_factory: pytest.TempPathFactory, to: Any, rows: list[Row]
) -> None:
    folder = write_run(tmp_path_factory.mktemp("run") / "run", rows)
    write_table(folder, folder / "table", to)
    assert read_table(folder / "table") == {".": recorded(folder)}


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_awkward_texts_come_back(tmp_path: Path, to: Any) -> None:
    folder = write_run(tmp_path / "run", AWKWARD)
    assert write_table(folder, tmp_path / "deep" / "table", to) == len(AWKWARD)
    assert read_table(tmp_path / "deep" / "table")["."] == recorded(folder)


def test_a_missing_field_is_not_a_null(tmp_path: Path) -> None:
    rows = [{"donor": None, "pool": 3}, {"pool": None}, {"donor": "x"}]
    folder = write_run(tmp_path / "run", rows)
    columns = {column.name: column for column in to_columns(recorded(folder))}
    assert columns["donor"].cells == [None, ABSENT, "x"]
    write_table(folder, tmp_path / "t.csv", "csv")
    lines = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [line["donor"] for line in lines] == ["null", "", "x"]
    write_table(folder, tmp_path / "t.parquet", "parquet")
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert [list(names) for names in table["missing_fields"]] == [[], ["donor"], ["pool"]]
    assert table["donor"].isna().tolist() == [True, True, False]


def test_pandas_reads_both(tmp_path: Path) -> None:
    rows = [
        {"correct": True, "logprobs": {"A": -0.25, "B": -1.5}, "fed": [8], "text": "a, b\nc"},
        {"correct": False, "logprobs": {"A": -2.0, "B": -0.5}, "fed": [8], "text": "ü"},
    ]
    folder = write_run(tmp_path / "run", rows)
    for to in ("csv", "parquet"):
        write_table(folder, tmp_path / f"t.{to}", to)  # type: ignore[arg-type]
    for table in (pd.read_csv(tmp_path / "t.csv"), pd.read_parquet(tmp_path / "t.parquet")):
        assert table.columns.tolist()[:3] == ["model", "sample", "condition"]
        assert table["logprobs.A"].tolist() == [-0.25, -2.0]
        assert table["correct"].tolist() == [True, False]
        assert table["text"].tolist() == ["a, b\nc", "ü"]
        assert table["model"].unique().tolist() == ["faithful"]


def test_an_object_named_by_its_data_stays_one_cell(tmp_path: Path) -> None:
    rows: list[Row] = [{"logprobs": {f"option {i}": -1.0}} for i in range(MOST_KEYS + 1)]
    folder = write_run(tmp_path / "run", rows)
    assert [column.name for column in to_columns(recorded(folder))][-1] == "logprobs"
    write_table(folder, tmp_path / "t.csv", "csv")
    assert read_table(tmp_path / "t.csv")["."] == recorded(folder)


def test_runs_of_several_models_are_one_table(tmp_path: Path) -> None:
    write_run(tmp_path / "b", [{"text": "b"}, {"text": "c"}], "bypass")
    write_run(tmp_path / "f", [{"text": "f"}], "faithful")
    frame = read_frame(tmp_path)
    assert frame["model"].tolist() == ["bypass", "bypass", "faithful"]
    assert frame["run"].tolist() == ["b", "b", "f"]
    for to in ("csv", "parquet"):
        write_table(tmp_path, tmp_path / "table", to)  # type: ignore[arg-type]
        back = read_table(tmp_path / "table")
        assert back == {"b": recorded(tmp_path / "b"), "f": recorded(tmp_path / "f")}


def test_runs_whose_rows_differ_are_no_table(tmp_path: Path) -> None:
    write_run(tmp_path / "one", [{}])
    with Run.open(tmp_path / "two", {"experiment": "other"}) as run:
        run.append({"sample": "1", "condition": "own", "status": "ok"})
    with pytest.raises(LanternError, match=r"holds runs of other, test.*give one of its folders"):
        read_runs(tmp_path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match="there is no folder"):
        read_runs(tmp_path / "gone")
    with pytest.raises(LanternError, match="holds no run"):
        read_runs(tmp_path)
    Run.open(tmp_path / "empty", {}).close()
    with pytest.raises(LanternError, match="has no rows yet"):
        read_runs(tmp_path / "empty")
    (write_run(tmp_path / "bad", [{}]) / "rows.jsonl").write_text("{]\n")
    with pytest.raises(LanternError, match="line 1: corrupt"):
        read_runs(tmp_path / "bad")


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_a_full_disk_leaves_the_old_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: Any
) -> None:
    folder = write_run(tmp_path / "run", [{"text": "new"}])
    file = tmp_path / "table"
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LanternError, match="No space left"):
        write_table(folder, file, to)
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_a_changed_table_is_not_read_back(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [{"tokens": 3}])
    write_table(folder, tmp_path / "t.csv", "csv")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace("tokens", "token"))
    with pytest.raises(LanternError, match="its columns are others"):
        read_table(tmp_path / "t.csv")
    columns_file(tmp_path / "t.csv").unlink()
    with pytest.raises(LanternError, match=r"cannot be read back without 't\.csv\.columns\.json'"):
        read_table(tmp_path / "t.csv")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(LanternError, match="no table that was exported"):
        read_table(tmp_path / "foreign.parquet")


def test_the_columns_beside_a_table_are_described(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [{"logprobs": {"A.": -1.0}}])
    write_table(folder, tmp_path / "t.csv", "csv")
    note = json.loads(columns_file(tmp_path / "t.csv").read_text())
    assert note["columns"][-1] == {
        "name": "logprobs.A\\.",
        "path": ["logprobs", "A."],
        "kind": "number",
        "empty": "none",
    }
