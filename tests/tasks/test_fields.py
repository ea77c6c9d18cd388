"""Fields of a published row: what is taken, and errors that begin with the place."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.fields import Entry, json_lines, json_object, parquet_rows


def row(**fields: Any) -> Entry:
    return Entry("file.jsonl, line 3", fields)


def png(size: tuple[int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size).save(data, "png")
    return data.getvalue()


@pytest.mark.parametrize("written", ["B", "(B)", " b ", "(b"])
def test_a_letter_is_read_in_any_form(written: str) -> None:
    assert row(answer=written).letter("answer", "ABC") == "B"


@pytest.mark.parametrize("written", ["D", "AB", "B.", "", 2, None])
def test_what_is_none_of_the_letters_is_refused_with_the_place(written: Any) -> None:
    with pytest.raises(LanternError, match=r"^file\.jsonl, line 3: the field 'answer' must be"):
        row(answer=written).letter("answer", "ABC")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(LanternError, match=r"^file\.jsonl, line 3: the field 'x' is missing$"):
        row().field("x")


def test_texts_are_stripped_and_counted() -> None:
    assert row(options=[" a ", "b"]).texts("options", 2) == ("a", "b")
    for wrong in (["a"], ["a", " "], ["a", 1], "ab", [str(n) for n in range(27)]):
        with pytest.raises(LanternError, match="must be a list of 2 to 26 texts"):
            row(options=wrong).texts("options", 2)


def test_an_image_is_a_path_below_the_folder_or_encoded_bytes(tmp_path: Path) -> None:
    assert row(image="a/b.png").image("image", tmp_path) == tmp_path / "a" / "b.png"
    assert row(image="https://x/y.png").image("image", tmp_path) == "https://x/y.png"
    assert row(image={"bytes": None, "path": "/a.png"}).image("image", None) == Path("/a.png")
    found = row(image={"bytes": png((5, 4)), "path": None}).image("image", None)
    assert isinstance(found, Image.Image) and found.size == (5, 4)
    # Bytes that are no image become a name that cannot be opened, and that tells the place.
    broken = row(image={"bytes": b"no image", "path": None}).image("image", None)
    assert broken == "file.jsonl, line 3, image"
    with pytest.raises(LanternError, match="holds no image; download the repository"):
        row(image="a.png").image("image", None)


def test_lines_are_counted_with_the_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}\n\n{"a": 2}\n')
    assert [(entry.where, entry.fields) for entry in json_lines(path)] == [
        (f"{path}, line 1", {"a": 1}),
        (f"{path}, line 3", {"a": 2}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not valid JSON"), ("[1]", "a list where an object is needed"), ("\n", "no rows in it")],
)
def test_lines_that_are_no_objects_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LanternError, match=said):
        json_lines(path)


def test_a_file_holds_one_object(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_text(json.dumps({"question": "what ?"}), encoding="utf-8")
    assert json_object(path).text("question") == "what ?"
    with pytest.raises(LanternError, match=r"cannot read .*gone\.json"):
        json_object(tmp_path / "gone.json")


def test_parquet_rows_are_numbered_and_keep_their_images_encoded(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "val.parquet"
    image = {"bytes": png((3, 2)), "path": "a.png"}
    parquet.write_table(pyarrow.Table.from_pylist([{"idx": "one", "image": image}]), path)
    (found,) = parquet_rows(path)
    assert found.where == f"{path}, row 0" and found.fields["image"] == image
    path.write_bytes(b"no parquet")
    with pytest.raises(LanternError, match="cannot read"):
        parquet_rows(path)
