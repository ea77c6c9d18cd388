"""The unit of a box is checked, never guessed."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.boxes import check_in_image, in_pixels
from lantern_probe.tasks.sample import Box, Sample
from lantern_probe.tasks.viscot import viscot
from lantern_probe.tasks.vstar import vstar

PICTURE = np.zeros((50, 200, 3), np.uint8)
LINE = {"question": "q", "options": ["A. a", "B. b"], "answer": "A", "img_path": "a.png"}


def asked(*boxes: Box) -> list[Sample]:
    return [Sample(str(i), (PICTURE,), "q", boxes=(box,)) for i, box in enumerate(boxes)]


def nothing(message: str) -> None:
    raise AssertionError(message)


inside = st.floats(0, 1)


@given(st.lists(st.tuples(inside, inside, inside, inside), min_size=1, max_size=4))
def test_a_file_of_fractions_is_never_taken_for_pixels(boxes: list[Box]) -> None:
    with pytest.raises(LanternError, match=r"within 0 to 1.*--boxes xyxy-1"):
        in_pixels(asked(*boxes), "xyxy", "data", nothing)


@pytest.mark.parametrize(("unit", "whole"), [("xyxy-1", 1), ("xyxy-1000", 1000)])
def test_other_units_are_converted_and_that_is_said(unit: str, whole: int) -> None:
    said: list[str] = []
    box = (0.1 * whole, 0.2 * whole, 0.5 * whole, whole)
    (sample,) = in_pixels(asked(box), unit, "data", said.append)  # type: ignore[arg-type]
    assert sample.boxes[0] == pytest.approx((20, 10, 100, 50))
    assert said == [f"data: 1 boxes were converted from {unit} to pixels"]


@pytest.mark.parametrize(("unit", "box"), [("xyxy-1", (0, 0, 2, 1)), ("xyxy-1000", (-1, 0, 9, 9))])
def test_boxes_that_leave_their_unit_are_refused(unit: str, box: Box) -> None:
    with pytest.raises(LanternError, match=f"are not {unit}; say by --boxes"):
        in_pixels(asked((0, 0, 1, 1), box), unit, "data", nothing)  # type: ignore[arg-type]


def test_pixels_stay_and_files_without_boxes_pass() -> None:
    samples = [*asked((0, 0, 2, 2), (3, 4, 50, 40)), Sample("x", (PICTURE,), "q")]
    assert in_pixels(samples, "xyxy", "data", nothing) == samples
    assert in_pixels(samples[2:], "xyxy-1", "data", nothing) == samples[2:]


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0.05, 0.05, 0.95, 0.95), "smaller than 1 x 1 pixel.*fractions"),
        ((10, 10, 10.5, 40), "smaller than 1 x 1 pixel"),
        ((150, 10, 20, 30), "no area.*x, y,"),
        ((10, 40, 20, 40), "no area"),
        ((300, 10, 400, 40), "no area"),
        ((150, 10, 900, 700), "greater part outside"),
    ],
)
def test_a_box_that_is_no_region_is_refused(box: Box, said: str) -> None:
    with pytest.raises(LanternError, match=said):
        check_in_image((200, 50), box)


def test_a_box_that_overlaps_the_edge_a_little_passes() -> None:
    check_in_image((200, 50), (150, 10, 230, 52))


def test_a_file_is_read_in_the_unit_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    path = tmp_path / "data.jsonl"
    gone = LINE | {"img_path": "gone.png"}
    path.write_text("\n".join(json.dumps(d | {"bbox": [0, 0, 0.5, 1]}) for d in (LINE, gone)))
    with pytest.raises(LanternError, match=r"data\.jsonl: all 2 boxes lie within 0 to 1"):
        viscot(path)
    with caplog.at_level(logging.WARNING):
        first, lost = viscot(path, boxes="xyxy-1")
    assert first.boxes == ((0, 0, 100, 50),)
    assert "converted from xyxy-1" in caplog.text
    with pytest.raises(LanternError, match="no image at"):
        lost.open_images()


# -- forms of a whole file ----------------------------------------------------------

SIZE = (640, 480)
BOXES: list[Box] = [(64, 48, 320, 240), (0, 0, 640, 480), (160, 120, 480, 360)] * 3


def in_form(box: Box, whole: float | None, sized: bool) -> list[float]:
    left, top, right, bottom = box
    numbers = [left, top, right - left, bottom - top] if sized else [*box]
    scale = (1.0, 1.0) if whole is None else (whole / SIZE[0], whole / SIZE[1])
    return [number * scale[i % 2] for i, number in enumerate(numbers)]


def written(folder: Path, boxes: list[list[float]]) -> Path:
    Image.new("RGB", SIZE).save(folder / "a.png")
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(LINE | {"bbox": box}) + "\n" for box in boxes))
    return path


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize(
    ("ending", "whole"),
    [("", None), ("-1", 1.0), ("-100", 100.0), ("-1000", 1000.0)],
)
def test_every_form_gives_the_same_pixels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str, whole: float | None, sized: bool
) -> None:
    form: Any = ("xywh" if sized else "xyxy") + ending
    path = written(tmp_path, [in_form(box, whole, sized) for box in BOXES])
    with caplog.at_level(logging.WARNING):
        samples = viscot(path, boxes=form)
    for sample, box in zip(samples, BOXES, strict=True):
        assert sample.boxes[0] == pytest.approx(box)
    assert ("9 boxes were converted" in caplog.text) == (whole is not None)
    assert len(caplog.records) == (whole is not None)


def test_vstar_has_widths_in_every_unit(tmp_path: Path) -> None:
    folder = tmp_path / "direct_attributes"
    folder.mkdir()
    Image.new("RGB", SIZE).save(folder / "a.jpg")
    note = {"target_object": ["cup"], "bbox": [[0.4, 0.1, 0.6, 0.9]], "question": "what?"}
    (folder / "a.json").write_text(json.dumps(note | {"options": ["x", "y"]}))
    with pytest.raises(LanternError, match=r"within 0 to 1.*--boxes xywh-1"):
        vstar(tmp_path)
    (sample,) = vstar(tmp_path, boxes="xywh-1")
    assert sample.boxes[0] == pytest.approx((256, 48, 640, 480))
    with pytest.raises(LanternError, match="left, top, width, height.*not xyxy"):
        vstar(tmp_path, boxes="xyxy")


def test_widths_taken_for_edges_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [[400, 300, 50, 60], [300, 300, 100, 60], [10, 10, 90, 90]])
    with pytest.raises(LanternError, match=r"2 of 3 boxes end before they begin.*--boxes xywh"):
        viscot(path)
    assert viscot(path, boxes="xywh")[0].boxes == ((400.0, 300.0, 450.0, 360.0),)
    one = written(tmp_path, [[400, 300, 50, 60], *map(list, BOXES)])
    assert len(viscot(one)) == 10  # which fails alone, where its box is needed


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([in_form(box, 100, False) for box in BOXES], r"sides as 100\? \(--boxes xyxy-100\)"),
        (
            [in_form(box, 999, False) for box in BOXES],
            r"9 have a box that reaches beyond .*xyxy-1000",
        ),
        ([[0.1, 0.1, 0.5, 0.5], *map(list, BOXES)], "1 of 10 boxes lie within 0 to 1"),
        ([[*SIZE, 900, 700], *map(list, BOXES)], "1 have a box that reaches beyond"),
    ],
)
def test_pixels_that_look_like_another_unit_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, boxes: list[list[float]], said: str
) -> None:
    with caplog.at_level(logging.WARNING):
        viscot(written(tmp_path, boxes))
    assert re.search(said, caplog.text)
