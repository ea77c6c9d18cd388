"""BLINK from a folder and from the Hub: what is taken, and what is refused and how."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks import load_folder
from lantern_probe.tasks.blink import SUB_TASKS, blink

ROW: dict[str, Any] = {
    "idx": "val_Object_Localization_1",
    "sub_task": "Object_Localization",
    "question": "Which box is better?",
    "prompt": "Which box is better?\nSelect from the following choices.\n(A) Box A\n(B) Box B",
    "choices": ["Box A", "Box B"],
    "answer": "(B)",
    "image_1": "images/1.png",
    "image_2": None,
    "image_3": None,
    "image_4": None,
}
SPATIAL = ROW | {
    "idx": "val_Spatial_Relation_1",
    "sub_task": "Spatial_Relation",
    "question": "Is the cat under the car?",
    "choices": ["yes", "no"],
    "answer": "(A)",
}


def write(folder: Path, *rows: Any, sub_task: str = SUB_TASKS[0]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / f"{sub_task}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "images").mkdir(exist_ok=True)
    Image.new("RGB", (30, 20), "red").save(folder / "images" / "1.png")
    return folder


def refused(folder: Path, *rows: Any) -> str:
    with pytest.raises(LanternError) as caught:
        blink(write(folder, *rows), sub_tasks=SUB_TASKS[:1])
    return str(caught.value)


def test_both_sub_tasks_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, SPATIAL, sub_task="Spatial_Relation")
    first, second = blink(write(tmp_path, ROW))
    assert first.id == "val_Object_Localization_1"
    assert first.question == "Which box is better?"
    assert first.prompt == "Which box is better?\nOptions:\nA. Box A\nB. Box B\n"
    assert first.options == ("Box A", "Box B")
    assert first.candidates == ("A", "B") and first.lettered
    assert first.answer == "B"
    assert first.boxes == ()
    assert first.attributes == {"category": "Object_Localization"}
    assert first.open_images()[0].size == (30, 20)
    assert (second.id, second.answer) == ("val_Spatial_Relation_1", "A")
    assert second.attributes == {"category": "Spatial_Relation"}


def test_every_image_there_is_is_taken(tmp_path: Path) -> None:
    write(tmp_path, ROW | {"image_3": "images/2.png"})
    Image.new("RGB", (7, 9)).save(tmp_path / "images" / "2.png")
    (sample,) = blink(tmp_path, sub_tasks=["Object_Localization"])
    assert [image.size for image in sample.open_images()] == [(30, 20), (7, 9)]


def test_a_missing_image_fails_its_sample_only(tmp_path: Path) -> None:
    lost = ROW | {"idx": "val_Object_Localization_2", "image_1": "images/lost.png"}
    good, bad = blink(write(tmp_path, ROW, lost), sub_tasks=SUB_TASKS[:1])
    assert good.open_images()
    with pytest.raises(LanternError, match=r"'val_Object_Localization_2'.*no image.*lost\.png"):
        bad.open_images()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", " "),
        ("question", 3),
        ("idx", None),
        ("choices", []),
        ("choices", ["one"]),
        ("choices", "yes no"),
        ("choices", ["yes", None]),
        ("choices", ["x"] * 27),
        ("answer", "hidden"),
        ("answer", "(C)"),
        ("answer", ""),
        ("image_1", None),
        ("image_1", 5),
    ],
)
def test_a_bad_field_is_named_with_file_and_line(tmp_path: Path, field: str, value: Any) -> None:
    message = refused(tmp_path, ROW, "", ROW | {"idx": "other"} | {field: value})
    assert message.startswith(f"{tmp_path / 'Object_Localization.jsonl'}, line 3: ")
    assert f"the field '{field}'" in message


@pytest.mark.parametrize("field", ["question", "idx", "choices", "answer", "image_1"])
def test_a_field_that_is_not_there_is_named(tmp_path: Path, field: str) -> None:
    rest = {name: value for name, value in ROW.items() if name != field}
    assert f"line 1: the field '{field}' is missing" in refused(tmp_path, rest)


def test_what_is_no_row_is_refused(tmp_path: Path) -> None:
    assert "line 2: not valid JSON" in refused(tmp_path, ROW, "{")
    assert "line 1: a list where an object" in refused(tmp_path, "[1]")
    assert "no rows in it" in refused(tmp_path, "")
    assert "line 2: the field 'idx' is 'val_Object_Loc" in refused(tmp_path, ROW, ROW)


def test_where_there_is_nothing_it_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match=r"Object_Localization\.jsonl; give the folder"):
        blink(tmp_path)
    with pytest.raises(LanternError, match="no folder 'BLINK-Benchmark/BLINK'.*hub="):
        blink("BLINK-Benchmark/BLINK")
    for wrong in ({}, {"folder": tmp_path, "hub": "BLINK-Benchmark/BLINK"}):
        with pytest.raises(LanternError, match="either a folder or, with hub="):
            blink(**wrong)


# -- through the package `datasets` ---------------------------------------------------------


class Table:
    """The part of a `datasets.Dataset` that is used."""

    def __init__(self, rows: list[dict[str, Any]], decode: bool = True) -> None:
        self.rows, self.decode = rows, decode

    @property
    def features(self) -> dict[str, Any]:
        return {name: FakeImage() if name.startswith("image") else str for name in self.rows[0]}

    def cast_column(self, name: str, feature: FakeImage) -> Table:
        assert name.startswith("image")
        return Table(self.rows, feature.decode)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert not self.decode, "all images of the data set would be decoded at once"
        return iter(self.rows)


class FakeImage:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


def encoded(size: tuple[int, int]) -> dict[str, Any]:
    data = io.BytesIO()
    Image.new("RGB", size).save(data, "PNG")
    return {"bytes": data.getvalue(), "path": None}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A stand-in for the package; what it was asked for."""
    asked: list[Any] = []
    rows = {
        "Object_Localization": [
            ROW | {"image_1": encoded((30, 20))},
            ROW | {"idx": "val_Object_Localization_2", "image_1": {"bytes": b"x", "path": None}},
        ],
        "Spatial_Relation": [SPATIAL | {"image_1": encoded((5, 6))}],
    }

    def load_dataset(repository: str, config: str, split: str) -> Table:
        asked.append((repository, config, split))
        if repository == "no/where":
            raise ConnectionError("cannot be reached")
        return Table(rows[config])

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.Image = FakeImage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_the_hub_is_asked_for_by_name(asked: list[Any]) -> None:
    first, broken, second = blink(hub="BLINK-Benchmark/BLINK")
    assert asked == [("BLINK-Benchmark/BLINK", sub_task, "val") for sub_task in SUB_TASKS]
    assert (first.id, first.answer) == ("val_Object_Localization_1", "B")
    assert first.open_images()[0].size == (30, 20)
    assert second.open_images()[0].size == (5, 6)
    with pytest.raises(LanternError, match="Object_Localization val, row 1, image_1"):
        broken.open_images()


def test_a_folder_never_asks_the_hub(asked: list[Any], tmp_path: Path) -> None:
    with pytest.raises(LanternError, match="no folder"):
        blink("BLINK-Benchmark/BLINK")
    blink(write(tmp_path, ROW), sub_tasks=SUB_TASKS[:1])
    assert asked == []


def test_a_hub_that_does_not_answer(asked: list[Any]) -> None:
    with pytest.raises(LanternError, match=r"no/where Object_Localization val.*cannot be reached"):
        blink(hub="no/where")


def test_without_the_package_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LanternError, match=r"pip install 'lantern-probe\[datasets\]'"):
        blink(hub="BLINK-Benchmark/BLINK")
    shard = tmp_path / "Object_Localization" / "val-00000-of-00001.parquet"
    shard.parent.mkdir()
    shard.write_bytes(b"PAR1")
    with pytest.raises(
        LanternError, match=r"val-00000-of-00001\.parquet' needs .*pyarrow: pip install"
    ):
        blink(tmp_path)


def test_parquet_files_as_the_repository_has_them(tmp_path: Path) -> None:
    parquet = importlib.import_module("pyarrow.parquet")
    shard = tmp_path / "Object_Localization" / "val-00000-of-00001.parquet"
    shard.parent.mkdir()
    broken = {"idx": "val_Object_Localization_2", "image_1": {"bytes": b"x", "path": None}}
    rows = [ROW | {"image_1": encoded((30, 20))}, ROW | broken]
    parquet.write_table(importlib.import_module("pyarrow").Table.from_pylist(rows), shard)
    good, bad = blink(tmp_path, sub_tasks=SUB_TASKS[:1])
    assert (good.id, good.answer, good.options) == (ROW["idx"], "B", ("Box A", "Box B"))
    assert [image.size for image in good.open_images()] == [(30, 20)]
    with pytest.raises(LanternError, match=r"val-00000-of-00001\.parquet, row 1, image_1"):
        bad.open_images()
    shard.write_bytes(b"no parquet")
    with pytest.raises(LanternError, match=r"cannot read .*00001\.parquet"):
        blink(tmp_path)


def test_a_folder_is_recognised_by_its_layout(tmp_path: Path) -> None:
    """`--data FOLDER` of the command lines: BLINK or V*, and nothing else by mistake."""
    benchmark = tmp_path / "blink"
    benchmark.mkdir()
    (only,) = load_folder(write(benchmark, ROW))
    assert only.id == "val_Object_Localization_1"
    other = tmp_path / "vstar" / "relative_position"
    other.mkdir(parents=True)
    note = {"target_object": ["a"], "bbox": [[1, 2, 3, 4]], "question": "?", "options": ["L", "R"]}
    (other / "sa_1.json").write_text(json.dumps(note))
    Image.new("RGB", (30, 20)).save(other / "sa_1.jpg")
    (found,) = load_folder(other.parent)
    assert found.id == "relative_position/sa_1" and found.boxes == ((1.0, 2.0, 4.0, 6.0),)
    with pytest.raises(LanternError, match=r"a copy of neither BLINK .* nor V\*"):
        load_folder(benchmark / "images")
