"""Evidence crops: the official crop by its formula, and features compressed into slots."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.tasks.crops import CONTEXT, compress, crop_box, evidence, first_image, overlap
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import HIDDEN, scenes

EDGES = st.integers(0, 200)


@pytest.mark.parametrize(
    ("first", "second", "area"),
    [
        ((0, 0, 10, 10), (5, 6, 20, 20), 5 * 4),
        ((0, 0, 10, 10), (2, 3, 4, 5), 2 * 2),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0),  # they touch
        ((0, 0, 10, 10), (20, 20, 30, 30), 0),
    ],
)
def test_an_overlap_is_the_area_in_both(first: tuple, second: tuple, area: float) -> None:
    assert overlap(first, second) == overlap(second, first) == area


@given(EDGES, EDGES, st.integers(1, 100), st.integers(1, 100))
def test_a_crop_is_the_enlarged_box_cut_to_the_image(x: int, y: int, w: int, h: int) -> None:
    """The official formula: int(c - s/2) and int(c + s/2) with s = 1.2 times the side."""
    box, size = (float(x), float(y), float(x + w), float(y + h)), (220, 240)
    centre, sides = (x + w / 2, y + h / 2), (w * CONTEXT, h * CONTEXT)
    expected = (
        *(max(0, int(c - s / 2)) for c, s in zip(centre, sides, strict=True)),
        *(min(m, int(c + s / 2)) for m, c, s in zip(size, centre, sides, strict=True)),
    )
    if expected[0] < expected[2] and expected[1] < expected[3]:
        assert crop_box(size, box) == expected
    else:
        with pytest.raises(LanternError, match="leaves nothing to crop"):
            crop_box(size, box)


def test_a_box_outside_the_image_leaves_nothing_to_crop() -> None:
    with pytest.raises(LanternError, match=r"nothing to crop in an image of 40 x 30 pixels"):
        crop_box((40, 30), (50, 10, 60, 20))


def test_features_that_do_not_fill_the_groups_are_dropped_from_the_end() -> None:
    features = torch.arange(7.0)[:, None] * torch.ones(1, 3)
    assert compress(features, 3)[:, 0].tolist() == [0.5, 2.5, 4.5]
    torch.testing.assert_close(compress(features, 7), features)
    with pytest.raises(LanternError, match="7 vision tokens, fewer than the 8 slots"):
        compress(features, 8)


def test_the_image_of_the_boxes_has_nothing_hidden() -> None:
    sample = scenes(1, hide_asked=True)[0]
    box = evidence(sample)
    assert box == sample.boxes[0]
    middle = (int(box[0] + box[2]) // 2, int(box[1] + box[3]) // 2)
    assert sample.open_images()[0].getpixel(middle) == HIDDEN
    assert first_image(sample).tobytes() == scenes(1)[0].open_images()[0].tobytes()


def test_a_sample_without_image_or_box_is_refused() -> None:
    sample = Sample("a", (), "what ?")
    with pytest.raises(LanternError, match="'a' has no image"):
        first_image(sample)
    with pytest.raises(LanternError, match="'a' has no box"):
        evidence(sample)
