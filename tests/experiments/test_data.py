"""Data of a command: which reader takes a file, what is printed, and what a run records of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.data import load_pairs
from experiments.inputs import Inputs
from experiments.runs import run_settings
from lantern_probe.errors import LanternError
from lantern_probe.tasks.viscot import is_viscot, viscot

OFFICIAL = {
    "question": "what?",
    "options": ["A) a cat", "B) a dog"],
    "answer": "B",
    "img_path": "a.png",
    "bbox": [1, 2, 30, 40],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    return tmp_path


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "d.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_the_official_file_is_asked_as_written_unless_something_else_is_said(folder: Path) -> None:
    path = written(folder, OFFICIAL)
    assert Inputs(data=path).reading is None
    assert Inputs(data=path).load_samples("faithful")[1][0].text == viscot(path)[0].text
    other = Inputs(data=path, options="words", boxes="xyxy")
    assert other.load_samples("faithful")[1][0].text == "what?\na cat\na dog"
    assert "reading" not in run_settings(Inputs(data=path), "x", "faithful", "d", gpu=False)


@pytest.mark.parametrize(
    ("change", "official"),
    [
        ({}, True),
        ({"options": ["a cat", "a dog"]}, True),
        ({"answer": "a dog"}, False),
        ({"options": "['a cat', 'a dog']"}, False),
        ({"options": {"A": "a cat"}}, False),
    ],
)
def test_a_file_is_official_by_its_first_line(
    folder: Path, change: dict[str, Any], official: bool
) -> None:
    assert is_viscot(written(folder, OFFICIAL | change)) is official
    lettered = {("image" if k == "img_path" else k): v for k, v in (OFFICIAL | change).items()}
    assert is_viscot(written(folder, lettered)) is (official and "options" not in change)


def test_how_a_table_was_read_is_printed_once_and_recorded(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"query": "what?", "image": "a.png", "A": "x", "B": "y", "answer": "b", "id": n}
        for n in "12"
    ]
    config = Inputs(data=written(folder, *rows), samples=1)
    data, samples = config.load_samples("faithful")
    config.load_samples("faithful")
    settings = run_settings(config, "x", "faithful", data, gpu=False)
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("question = query, options = A+B, answer = answer") == 1
    assert (data, len(samples)) == ("d.jsonl", 1)
    assert settings["reading"]["columns"]["question"] == ["query"]
    more = Inputs(data=config.data)
    assert run_settings(more, "x", "faithful", data, gpu=False)["reading"] == settings["reading"]


def test_flags_about_tables_need_data() -> None:
    for flags in ({"fields": ("id=x",)}, {"prompt": "{question}"}, {"boxes": "xyxy"}):
        with pytest.raises(LanternError, match=f"--{next(iter(flags))}: .* are about --data"):
            Inputs(**flags).check_data("faithful")  # type: ignore[arg-type]


def test_twins_of_the_data_are_pairs(folder: Path) -> None:
    row = {"question": "what?", "image": "a.png", "options": ["x", "y"], "answer": "x"}
    path = written(folder, row | {"id": "1", "twin": "2"}, row | {"id": "2", "answer": "y"})
    data, pairs = load_pairs(Inputs(data=path), "data", "faithful")
    assert data == "d.jsonl with its own twins" and [sample.id for sample in pairs] == ["1", "2"]
    with pytest.raises(LanternError, match="names a twin; give its column by --fields twin=COLUMN"):
        load_pairs(Inputs(data=written(folder, row)), "data", "faithful")
