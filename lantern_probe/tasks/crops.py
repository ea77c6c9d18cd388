"""Evidence crops: a box's pixels, and latents made of its vision features (arXiv 2603.25629)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from PIL.Image import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Box, Sample

if TYPE_CHECKING:
    from torch import Tensor


def overlap(first: Box, second: Box) -> float:
    """The area two boxes share, in square pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


def first_image(sample: Sample) -> Image:
    """The image that boxes refer to.

    Raises:
        LanternError: the sample has none, or it cannot be read.
    """
    if not sample.images:
        raise LanternError(f"sample {sample.id!r} has no image, so there is no region to crop")
    return sample.open_oracle_images()[0]


def evidence(sample: Sample) -> Box:
    """The first evidence box.

    Raises:
        LanternError: the sample has none.
    """
    if not sample.boxes:
        raise LanternError(f"sample {sample.id!r} has no box, so there is no oracle region")
    return sample.boxes[0]


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
