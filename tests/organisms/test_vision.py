"""Features of images: batches change nothing, and oracle latents are compressed crops."""

from __future__ import annotations

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from lantern_probe.organisms.training import vision
from lantern_probe.organisms.training.build import SLOTS
from lantern_probe.organisms.training.layout import IMAGE_TOKENS
from lantern_probe.tasks.crops import compress
from lantern_probe.tasks.scenes import scenes


def test_features_do_not_depend_on_the_batch(
    organism: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor
) -> None:
    images = [sample.open_images()[0] for sample in scenes(5, 6)]
    together = vision.cache(organism, processor.image_processor, images)
    apart = vision.cache(organism, processor.image_processor, images, batch=2)
    assert together.shape == (5, IMAGE_TOKENS, organism.config.text_config.hidden_size)
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-5)


def test_oracle_latents_are_the_compressed_features_of_the_crop(
    organism: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor
) -> None:
    """A hidden object is cropped from the image in which it is visible."""
    plain, hidden = scenes(2, 7), scenes(2, 7, hide_asked=True)
    crops = vision.oracle_crops(plain)
    for one, other in zip(crops, vision.oracle_crops(hidden), strict=True):
        assert one.tobytes() == other.tobytes() and one.width == one.height < 28
    found = vision.latents(organism, processor.image_processor, crops)
    features = vision.cache(organism, processor.image_processor, crops)
    assert found.shape == (2, SLOTS, features.shape[-1])
    torch.testing.assert_close(found[1], compress(features[1], SLOTS))
