"""The unit of a box is checked, never guessed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.boxes import check_in_image, in_pixels
from lantern_probe.tasks.sample import Box, Sample
from lantern_probe.tasks.viscot import viscot

PICTURE = np.zeros((50, 200, 3), np.uint8)
LINE = {"question": "q", "options": ["A. a", "B. b"], "answer": "A", "img_path": "a.png"}


def asked(*boxes: Box) -> list[Sample]:
    return [Sample(str(i), (PICTURE,), "q", boxes=(box,)) for i, box in enumerate(boxes)]


def nothing(message: str) -> None:
    raise AssertionError(message)


inside = st.floats(0, 1)


@given(st.lists(st.tuples(inside, inside, inside, inside), min_size=1, max_size=4))
def test_a_file_of_fractions_is_never_taken_for_pixels(boxes: list[Box]) -> None:
    with pytest.raises(LanternError, match=r"within 0 to 1.*--boxes fractions"):
        in_pixels(asked(*boxes), "pixels", "data", nothing)


@pytest.mark.parametrize(("unit", "whole"), [("fractions", 1), ("thousandths", 1000)])
def test_other_units_are_converted_and_that_is_said(unit: str, whole: int) -> None:
    said: list[str] = []
    box = (0.1 * whole, 0.2 * whole, 0.5 * whole, whole)
    (sample,) = in_pixels(asked(box), unit, "data", said.append)  # type: ignore[arg-type]
    assert sample.boxes[0] == pytest.approx((20, 10, 100, 50))
    assert said == [f"data: 1 boxes were converted from {unit} of the image to pixels"]


@pytest.mark.parametrize(
    ("unit", "box"), [("fractions", (0, 0, 2, 1)), ("thousandths", (-1, 0, 9, 9))]
)
def test_boxes_that_leave_their_unit_are_refused(unit: str, box: Box) -> None:
    with pytest.raises(LanternError, match=f"are no {unit}"):
        in_pixels(asked((0, 0, 1, 1), box), unit, "data", nothing)  # type: ignore[arg-type]


def test_pixels_stay_and_files_without_boxes_pass() -> None:
    samples = [*asked((0, 0, 1, 1), (3, 4, 50, 40)), Sample("x", (PICTURE,), "q")]
    assert in_pixels(samples, "pixels", "data", nothing) == samples
    assert in_pixels(samples[2:], "fractions", "data", nothing) == samples[2:]


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
        first, lost = viscot(path, boxes="fractions")
    assert first.boxes == ((0, 0, 100, 50),)
    assert "converted from fractions" in caplog.text
    with pytest.raises(LanternError, match="no image at"):
        lost.open_images()
