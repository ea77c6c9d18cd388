"""Files of another kind than is needed, and lines that do not spoil the others."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.tasks.blink import blink
from lantern_probe.tasks.fields import parquet_rows
from lantern_probe.tasks.json_rows import valid_text
from lantern_probe.tasks.viscot import viscot
from lantern_probe.tasks.vstar import vstar

LINE: dict[str, Any] = {
    "question": "What is white?",
    "options": ["A. Water", "B. a Bird"],
    "answer": "B",
    "img_path": "a.png",
    "bbox": [13.0, 13.0, 45.0, 32.0],
}
TEXT = "".join(json.dumps(LINE | {"question": f"q{i} ?"}) + "\n" for i in range(4))


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("d.jsonl", TEXT)
    return data.getvalue()


KINDS = {
    "indented list": (json.dumps([LINE] * 3, indent=1).encode(), "JSON list.*one object a line"),
    "list on one line": (json.dumps([LINE] * 3).encode(), "JSON list.*one object a line"),
    "indented object": (json.dumps(LINE, indent=2).encode(), "one JSON object over several lines"),
    "gzip": (gzip.compress(TEXT.encode()), "gzip"),
    "bzip2": (bz2.compress(TEXT.encode()), "bzip2"),
    "xz": (lzma.compress(TEXT.encode()), "xz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + b"\x20" * 20, "zstd"),
    "zip": (zipped(), "zip archive"),
    "UTF-16": (TEXT.encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), "UTF-16"),
    "UTF-16 big-endian without a mark": (TEXT.encode("utf-16-be"), "UTF-16"),
    "UTF-32": (TEXT.encode("utf-32"), "UTF-32"),
    "UTF-32 without a mark": (TEXT.encode("utf-32-be"), "UTF-32"),
    "Latin-1": (TEXT.replace("q2", "caf\xe9").encode("latin-1"), "line 3: .*Latin-1"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid 0\n", "git lfs pull"),
    "Parquet": (b"PAR1" + bytes(40) + b"PAR1", "Parquet"),
    "CSV": (b"question,options,answer\nwhat?,x,A\n", "table"),
    "TSV": (b"question\toptions\nwhat?\tx\n", "table"),
    "web page": (b"\n<!doctype HTML>\n<html><body>Sign in</body></html>", "web page"),
    "empty": (b"", "empty"),
    "spaces": (b" \n\r\n ", "empty"),
    "zero bytes": (bytes(100), "zero bytes"),
    "pickle": (b"\x80\x04\x95\x00", "pickle"),
    "image": (b"\x89PNG\r\n\x1a\n", "an image"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("malformed", ["raise", "skip"])
def test_a_file_of_another_kind_is_named_with_the_way_out(
    tmp_path: Path, name: str, malformed: Any
) -> None:
    data, words = KINDS[name]
    path = tmp_path / "d.jsonl"
    path.write_bytes(data)
    if name == "Latin-1" and malformed == "skip":
        assert len(viscot(path, malformed="skip")) == 3
        return
    with pytest.raises(LanternError, match=rf"d\.jsonl.*{words}"):
        viscot(path, malformed=malformed)


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match="is a folder"):
        viscot(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        ("\n\n" + TEXT.replace("\n", "\n \n")).encode(),
        TEXT.encode().replace(b"\n", b"\n\xef\xbb\xbf"),
        TEXT.rstrip("\n").encode(),
    ],
    ids=["mark", "CRLF", "CR", "empty lines", "marks between", "no last break"],
)
def test_line_breaks_marks_and_empty_lines_change_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(data)
    assert [sample.question for sample in viscot(path)] == [f"q{i} ?" for i in range(4)]


MALFORMED: dict[str, Any] = {
    "box of texts": LINE | {"bbox": ["1.5", "2", "30", "40"]},
    "box is a text": LINE | {"bbox": "[1, 2, 3, 4]"},
    "box is an object": LINE | {"bbox": {"x1": 1}},
    "empty box": LINE | {"bbox": [[]]},
    "box and a number": LINE | {"bbox": [5, [1, 2, 3, 4]]},
    "endless box": LINE | {"bbox": [1, 2, float("inf"), 4]},
    "answer is null": LINE | {"answer": None},
    "path is null": LINE | {"img_path": None},
    "question is a number": LINE | {"question": 7},
    "question is empty": LINE | {"question": " "},
    "options is a text": LINE | {"options": "A. x"},
    "options hold a number": LINE | {"options": ["A. x", 3]},
    "a field is missing": {"question": "q?"},
    "a list": "[1, 2]",
    "a text": '"A. x"',
    "null": "null",
    "no JSON": "{'question': 1}",
    "cut off": '{"question": "wh',
    "not UTF-8": b'{"question": "caf\xe9"}',
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("first", [True, False])
def test_a_malformed_line_is_refused_by_name_or_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, first: bool
) -> None:
    bad = MALFORMED[name]
    raw = (
        bad
        if isinstance(bad, bytes)
        else (bad if isinstance(bad, str) else json.dumps(bad)).encode()
    )
    good = TEXT.encode().splitlines()
    lines = [raw, *good] if first else [good[0], raw, *good[1:]]
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    number = 1 if first else 2
    with pytest.raises(LanternError, match=rf"d\.jsonl, line {number}: .*--malformed skip"):
        viscot(path)
    assert [sample.question for sample in viscot(path, malformed="skip")] == [
        f"q{i} ?" for i in range(4)
    ]
    assert f"cannot be used: 1 (the first: line {number}: " in caplog.text


BLINK = {"idx": "v_1", "question": "q?", "choices": ["x", "y"], "answer": "(A)", "image_1": "a.png"}
VSTAR = {
    "question_id": 1,
    "text": "q?\n(A) x\n(B) y",
    "label": "A",
    "category": "c",
    "image": "a.png",
}


@pytest.mark.parametrize(
    ("name", "row", "change", "read"),
    [
        (f"{kind}", row, change, read)
        for kind, row, key, read in (
            ("Spatial_Relation.jsonl", BLINK, "idx",
             lambda folder, **more: blink(folder, sub_tasks=["Spatial_Relation"], **more)),
            ("test_questions.jsonl", VSTAR, "question_id", vstar),
        )
        for change in ({key: None}, {key: row[key]}, {"answer": 3, "label": 3}, None)
    ],
)  # fmt: skip
def test_benchmarks_leave_out_malformed_lines_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, row: Any, change: Any, read: Any
) -> None:
    key = "idx" if "idx" in row else "question_id"
    bad = "no JSON" if change is None else json.dumps(row | {key: "9"} | change)
    last = json.dumps(row | {key: "2"})
    (tmp_path / name).write_text("\n".join([json.dumps(row), bad, last]) + "\n")
    with pytest.raises(LanternError, match=r"jsonl, line 2: .*--malformed skip"):
        read(tmp_path)
    assert [sample.id for sample in read(tmp_path, malformed="skip")] == [str(row[key]), "2"]
    assert "cannot be used: 1 (the first: line 2" in caplog.text


def test_text_given_as_parquet_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "d.parquet"
    path.write_text(TEXT)
    with pytest.raises(LanternError, match=r"JSON text.* no Parquet file"):
        parquet_rows(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(LanternError, match="git lfs pull"):
        parquet_rows(path)


def test_half_characters_in_ids_and_attributes_are_written_out(tmp_path: Path) -> None:
    rows = [
        LINE | {"id": f"caf\udce9{i}", "place": "caf\udce9", "img_path": "\ud800.png"}
        for i in (1, 2)
    ]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = viscot(path)
    assert [sample.id for sample in samples] == [r"caf\udce91", r"caf\udce92"]
    assert samples[0].attributes["place"] == r"caf\udce9"
    with pytest.raises(LanternError, match=r"udce91.*ud800"):
        samples[0].open_images()
    assert valid_text("café \U0001f600") == "café \U0001f600"
