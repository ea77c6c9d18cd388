"""Oracle latents: the compressed vision features of a region, and regions that have none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.model.oracle import region_latents
from lantern_probe.tasks.crops import compress, crop_box
from lantern_probe.tasks.scenes import scenes

SAMPLES = scenes(4, seed=9)
K = 8


def test_oracle_latents_are_the_compressed_features_of_the_crop(untrained: Any):
    sample = SAMPLES[0]
    image = sample.open_oracle_images()[0]
    crop = image.crop(crop_box(image.size, sample.boxes[0]))
    inputs = untrained.processor.image_processor(images=[crop], return_tensors="pt")
    with torch.no_grad():
        features = untrained.hf.model.visual(
            inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]
        ).pooler_output
    expected = torch.stack([features[t : t + 1].mean(0) for t in range(K)])
    assert len(features) == 9  # one is dropped
    assert torch.allclose(region_latents(untrained, image, sample.boxes[0]), expected, atol=1e-5)


def test_without_a_box_the_whole_image_is_taken(untrained: Any):
    image = SAMPLES[0].open_images()[0]
    # A box so large that, scaled and clipped, it is the image.
    whole = region_latents(untrained, image, (0, 0, *image.size))
    assert torch.equal(region_latents(untrained, image, None), whole)


def test_boxes_that_cannot_be_cropped_are_refused(untrained: Any):
    image = SAMPLES[0].open_images()[0]
    with pytest.raises(LanternError, match="has no area inside an image of 84 x 84"):
        region_latents(untrained, image, (200, 200, 220, 220))
    with pytest.raises(LanternError, match="a region of 400 x 1 pixels: .*aspect ratio"):
        region_latents(untrained, Image.new("RGB", (400, 1)), None)
    with pytest.raises(LanternError, match="4 vision tokens, fewer than the 8 slots"):
        compress(torch.zeros(4, 16), K)


@given(
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
    st.tuples(st.floats(-50, 550), st.floats(-50, 550), st.floats(1, 300), st.floats(1, 300)),
)
def test_crops_lie_inside_the_image(size: tuple[int, int], corner: tuple[float, ...]):
    box = (corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[3])
    try:
        left, top, right, bottom = crop_box(size, box)
    except LanternError:
        return
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
