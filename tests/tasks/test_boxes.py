"""Boxes in every form that files have, and those that are no region of pixels."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.boxes import BoxForm, check_box
from lantern_probe.tasks.viscot import viscot
from lantern_probe.tasks.vstar import vstar

SIZE = (640, 480)
BOXES = [(64.0, 48.0, 320.0, 240.0), (0.0, 0.0, 640.0, 480.0), (160.0, 120.0, 480.0, 360.0)] * 3


def in_form(box: tuple[float, ...], whole: float | None, sized: bool) -> list[float]:
    left, top, right, bottom = box
    numbers = [left, top, right - left, bottom - top] if sized else [*box]
    scale = (1.0, 1.0) if whole is None else (whole / SIZE[0], whole / SIZE[1])
    return [number * scale[i % 2] for i, number in enumerate(numbers)]


def write(folder: Path, boxes: list[Any]) -> Path:
    Image.new("RGB", SIZE).save(folder / "a.png")
    lines = [
        {"question": f"q{i}?", "options": ["A. x", "B. y"], "answer": "A", "img_path": "a.png",
         "bbox": box}
        for i, box in enumerate(boxes)
    ]  # fmt: skip
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize(
    ("unit", "whole"),
    [("pixels", None), ("fraction", 1.0), ("percent", 100.0), ("thousandths", 1000.0)],
)
def test_every_form_gives_the_same_pixels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unit: str, whole: float | None, sized: bool
) -> None:
    name = {("pixels", True): "xywh"}.get((unit, sized), unit + "-xywh" * sized)
    path = write(tmp_path, [in_form(box, whole, sized) for box in BOXES])
    caplog.set_level(logging.WARNING)
    samples = viscot(path, boxes=name)
    for sample, box in zip(samples, BOXES, strict=True):
        assert sample.boxes[0] == pytest.approx(box)
    assert ("9 boxes converted" in caplog.text) == (whole is not None)


def test_a_file_of_fractions_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path, [in_form(box, 1.0, False) for box in BOXES])
    with pytest.raises(LanternError, match=r"all boxes lie within 0\.\.1.*--boxes fraction"):
        viscot(path)
    with pytest.raises(LanternError, match=r"all boxes lie within 0\.\.1"):
        viscot(path, boxes="percent")


def test_pixels_are_refused_as_fractions(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match=r"9 of 9 boxes reach beyond 0\.\.1"):
        viscot(write(tmp_path, [list(box) for box in BOXES]), boxes="fraction")


def test_widths_taken_for_edges_are_refused(tmp_path: Path) -> None:
    boxes = [[400.0, 300.0, 50.0, 60.0], [300.0, 300.0, 100.0, 60.0], [10.0, 10.0, 90.0, 90.0]]
    with pytest.raises(LanternError, match=r"2 of 3 boxes have .*--boxes xywh"):
        viscot(write(tmp_path, boxes))
    assert viscot(write(tmp_path, boxes), boxes="xywh")[0].boxes == ((400.0, 300.0, 450.0, 360.0),)


def test_a_single_turned_box_fails_alone(tmp_path: Path) -> None:
    path = write(tmp_path, [[400.0, 300.0, 50.0, 60.0], *map(list, BOXES)])
    assert len(viscot(path)) == 10


@pytest.mark.parametrize(
    ("whole", "words"),
    [(100.0, r"percent of the image\? \(--boxes percent\)"), (1000.0, "thousandths")],
)
def test_other_units_are_said_by_the_sizes_of_the_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, whole: float, words: str
) -> None:
    caplog.set_level(logging.WARNING)
    viscot(write(tmp_path, [in_form(box, whole, False) for box in BOXES]))
    assert re.search(words, caplog.text)


def test_fractions_among_pixels_are_said_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    samples = viscot(write(tmp_path, [[0.1, 0.1, 0.5, 0.5], *map(list, BOXES)]))
    assert len(samples) == 10 and "1 of 10 boxes lie within 0..1" in caplog.text


def test_plain_boxes_say_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert [s.boxes[0] for s in viscot(write(tmp_path, [list(b) for b in BOXES]))] == BOXES
    assert not caplog.records


def test_a_missing_image_leaves_the_other_boxes_converted(tmp_path: Path) -> None:
    path = write(tmp_path, [in_form(box, 1.0, False) for box in BOXES])
    path.write_text(path.read_text().replace("a.png", "gone.png", 1))
    samples = viscot(path, boxes="fraction")
    assert samples[1].boxes[0] == pytest.approx(BOXES[1])
    with pytest.raises(LanternError, match=r"gone\.png"):
        samples[0].open_images()


def test_the_folder_of_vstar_has_forms_too(tmp_path: Path) -> None:
    folder = tmp_path / "direct_attributes"
    folder.mkdir()
    Image.new("RGB", SIZE).save(folder / "a.jpg")
    note = {"target_object": ["cup"], "bbox": [[0.1, 0.1, 0.5, 0.5]], "question": "what?",
            "options": ["x", "y"]}  # fmt: skip
    (folder / "a.json").write_text(json.dumps(note))
    with pytest.raises(LanternError, match=r"all boxes lie within 0\.\.1.*fraction-xywh"):
        vstar(tmp_path)
    (sample,) = vstar(tmp_path, boxes="fraction-xywh")
    assert sample.boxes[0] == pytest.approx((64, 48, 384, 288))


@pytest.mark.parametrize("text", ["pixel", "xyxy", "fraction,xywh", "", "-xywh", "cm-xywh"])
def test_unknown_forms_are_refused(text: str) -> None:
    with pytest.raises(LanternError, match="no form of boxes"):
        BoxForm.parse(text)


def test_a_form_is_a_unit_and_an_order() -> None:
    assert BoxForm.parse("xywh") == BoxForm.parse("pixels-xywh") == BoxForm("pixels", sized=True)
    assert BoxForm.parse("percent") == BoxForm("percent", sized=False)


def test_a_box_of_a_pixel_or_more_is_a_region() -> None:
    check_box((3, 3, 4, 4), SIZE)
    check_box((0, 0, 640, 480), SIZE)
