"""Features of many images at a time: whole scenes, oracle crops, oracle latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessor

from lantern_probe.organisms.training.build import SLOTS
from lantern_probe.tasks.crops import compress, crop_box
from lantern_probe.tasks.sample import Box, Sample


def oracle_crops(samples: Sequence[Sample]) -> list[Image.Image]:
    """Oracle crop of every sample's first box."""
    return [crop(sample, sample.boxes[0]) for sample in samples]


def crop(sample: Sample, box: Box) -> Image.Image:
    """Crop a region for oracle latents, from the image in which nothing is hidden.

    Args:
        sample: A sample with an image.
        box: Left, top, right, bottom in pixels; enlarged by 1.2 before cropping.
    """
    image = sample.open_oracle_images()[0]
    return image.crop(crop_box(image.size, box))


def features(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2VLImageProcessor,
    images: Sequence[Image.Image],
) -> Float[Tensor, "images tokens dim"]:
    """Merged vision features of images that the processor brings to one common size."""
    inputs = processor(images=list(images), return_tensors="pt")
    outputs = model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    return torch.stack(list(outputs.pooler_output))


def latents(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2VLImageProcessor,
    images: Sequence[Image.Image],
) -> Float[Tensor, "images slots dim"]:
    """Oracle latents: the features of each crop, compressed into the slots."""
    return torch.stack([compress(found, SLOTS) for found in cache(model, processor, images)])


@torch.no_grad()
def cache(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2VLImageProcessor,
    images: Sequence[Image.Image],
    batch: int = 128,
) -> Float[Tensor, "images tokens dim"]:
    """Merged vision features of many images, computed in batches and without gradients."""
    return torch.cat(
        [features(model, processor, images[i : i + batch]) for i in range(0, len(images), batch)]
    )
