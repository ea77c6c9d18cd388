"""A file of another kind is refused by its kind."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.tasks.files import json_values

ROWS = [{"a": 1}, {"a": "é"}]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(LINES.encode()), "gzip; unpack"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"PAR1rest", "Parquet"),
        (LINES.encode("utf-16"), "UTF-16; save it as UTF-8"),
        (LINES.encode("utf-16-le"), "UTF-16; save it as UTF-8"),
        (LINES.encode("utf-32"), "UTF-32; save it as UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x89PNG\r\n\x1a\n", "image"),
        (b'{"a": 1\x00}\x03\x00\x01' * 9, "binary"),
        (json.dumps(ROWS[0], indent=1).encode(), "one object a line"),
    ],
    ids=range(11),
)
def test_another_kind_of_file_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(data)
    with pytest.raises(LanternError, match=rf"data\.jsonl.*{said}"):
        list(json_values(path))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (LINES, "line"),
        ("\ufeff" + LINES.replace("\n", "\r\n\r\n"), "line"),
        (json.dumps(ROWS), "element"),
        (json.dumps(ROWS, indent=1), "element"),
    ],
)
def test_lines_and_lists_are_read_alike(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(text, encoding="utf-8")
    found = list(json_values(path))
    assert [value for _, _, value in found] == ROWS
    assert {word for word, _, _ in found} == {kind}


def test_a_bad_line_stands_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n{"a": "caf\xe9"}\n\n{"a": 2}\n')
    found = list(json_values(path))
    assert [number for _, number, _ in found] == [1, 2, 3, 5]
    assert "not valid JSON" in str(found[1][2])
    assert "not UTF-8 (byte 10 is 0xe9)" in str(found[2][2])
