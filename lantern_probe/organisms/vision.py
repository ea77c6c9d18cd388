"""Images to features: the oracle crop, the vision tower and the compression into slots."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessor

from lantern_probe.organisms.build import SLOTS
from lantern_probe.tasks.sample import Box, Sample


def crop(image: Image.Image, box: Box, scale: float = 1.2) -> Image.Image:
    """The oracle crop: the box scaled around its centre, cut at the border (arXiv 2603.25629)."""
    left, top, right, bottom = box
    across, down = (left + right) / 2, (top + bottom) / 2
    half_width, half_height = scale * (right - left) / 2, scale * (bottom - top) / 2
    return image.crop(
        (
            max(0, int(across - half_width)),
            max(0, int(down - half_height)),
            min(image.width, int(across + half_width)),
            min(image.height, int(down + half_height)),
        )
    )


def oracle_crops(samples: Sequence[Sample]) -> list[Image.Image]:
    """Crop of the first box of every sample, from the image in which it is visible."""
    return [crop(sample.open_oracle_images()[0], sample.boxes[0]) for sample in samples]


def features(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2VLImageProcessor,
    images: Sequence[Image.Image],
) -> Float[Tensor, "images tokens dim"]:
    """Merged vision features of images that are processed to one common size."""
    inputs = processor(images=list(images), return_tensors="pt")
    outputs = model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    return torch.stack(list(outputs.pooler_output))


def compress(found: Float[Tensor, "images tokens dim"]) -> Float[Tensor, "images slots dim"]:
    """Oracle latents: drop n mod K features from the end, average K groups of neighbours."""
    count, tokens, dim = found.shape
    group = tokens // SLOTS
    return found[:, : group * SLOTS].reshape(count, SLOTS, group, dim).mean(2)


@torch.no_grad()
def cache(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2VLImageProcessor,
    images: Sequence[Image.Image],
    batch: int = 128,
) -> Float[Tensor, "images tokens dim"]:
    """`features` of many images, in batches and without gradients."""
    return torch.cat(
        [features(model, processor, images[i : i + batch]) for i in range(0, len(images), batch)]
    )
