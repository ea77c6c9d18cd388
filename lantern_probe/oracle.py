"""Oracle latents: the compressed vision features of an image region (arXiv 2603.25629)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Box

if TYPE_CHECKING:
    from lantern_probe.model import LanternModel

CONTEXT = 1.2
"""By how much the official code enlarges a box around its centre before cropping."""


def crop_box(
    image_size: tuple[int, int], box: Box, context: float = CONTEXT
) -> tuple[int, int, int, int]:
    """The pixels the official code crops for a box: enlarged, truncated, clipped to the image.

    Args:
        image_size: Width and height.
        box: Left, top, right, bottom.
        context: Factor on width and height around the centre.

    Raises:
        LanternError: nothing of the box lies inside the image.
    """
    width, height = image_size
    left, top, right, bottom = box
    half_width, half_height = (right - left) * context / 2, (bottom - top) * context / 2
    x, y = left + (right - left) / 2, top + (bottom - top) / 2
    crop = (
        max(0, int(x - half_width)),
        max(0, int(y - half_height)),
        min(width, int(x + half_width)),
        min(height, int(y + half_height)),
    )
    if crop[0] >= crop[2] or crop[1] >= crop[3]:
        raise LanternError(
            f"box {[round(v, 1) for v in box]} leaves nothing to crop in an image of "
            f"{width} x {height} pixels"
        )
    return crop


def compress(features: Float[Tensor, "tokens dim"], size: int) -> Float[Tensor, "slots dim"]:
    """K latents from n vision features: drop n mod K from the end, average groups of n // K.

    Raises:
        LanternError: there are fewer features than slots.
    """
    count, width = features.shape
    if count < size:
        raise LanternError(
            f"the region gives {count} vision tokens, fewer than the {size} slots; "
            "use a larger region or raise min_pixels"
        )
    return features[: count - count % size].reshape(size, count // size, width).mean(1)


@torch.no_grad()
def region_latents(
    lantern: LanternModel, image: Image.Image, box: Box | None
) -> Float[Tensor, "slots dim"]:
    """Oracle latents of one region of an image, or of the whole image, [K, D].

    Raises:
        LanternError: the box lies outside the image, or the region is too small.
    """
    crop = image if box is None else image.crop(crop_box(image.size, box))
    try:
        inputs = lantern.processor.image_processor(images=[crop], return_tensors="pt")
    except ValueError as error:
        raise LanternError(f"a region of {crop.size[0]} x {crop.size[1]} pixels: {error}") from None
    inputs = inputs.to(lantern.device)
    output = lantern.hf.get_image_features(
        inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
    )
    return compress(output.pooler_output[0], lantern.latent_size)
