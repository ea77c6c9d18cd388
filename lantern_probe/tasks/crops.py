"""Evidence crops: a box's pixels, and latents made of its vision features (arXiv 2603.25629)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from PIL.Image import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.boxes import check_in_image
from lantern_probe.tasks.sample import Box, Sample

if TYPE_CHECKING:
    from torch import Tensor


def overlap(first: Box, second: Box) -> float:
    """Area that two boxes share, in square pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


def first_image(sample: Sample) -> Image:
    """Open the image to which a sample's boxes refer, with nothing hidden in it.

    Raises:
        LanternError: the sample has no image, or it cannot be read.
    """
    if not sample.images:
        raise LanternError(f"sample {sample.id!r} has no image, so there is no region to crop")
    return sample.open_oracle_images()[0]


def covered(inner: Box, outer: Box) -> float:
    """Fraction of one box that lies inside another, between 0 and 1.

    Args:
        inner: Box of which a fraction is taken.
        outer: Box in which it may lie.
    """
    return overlap(inner, outer) / ((inner[2] - inner[0]) * (inner[3] - inner[1]))


def evidence(sample: Sample) -> Box:
    """First evidence box of a sample: left, top, right, bottom in pixels.

    The first is the box of oracle crops, as in the official code. All boxes are evidence:
    `black-box` hides them all, and `random-box` avoids them all.

    Raises:
        LanternError: the sample has no box.
    """
    if not sample.boxes:
        raise LanternError(f"sample {sample.id!r} has no box, so there is no oracle region")
    return sample.boxes[0]


def check_evidence(sample: Sample) -> None:
    """Refuse a sample whose first box is no region of its image; one without a box passes.

    Raises:
        LanternError: naming the sample.
    """
    if sample.boxes and sample.images:
        image = first_image(sample)
        try:
            check_in_image(image.size, sample.boxes[0])
        except LanternError as error:
            raise LanternError(f"sample {sample.id!r}: {error}") from None


CONTEXT = 1.2
"""Factor by which the official code enlarges a box around its centre before cropping."""


def crop_box(
    image_size: tuple[int, int], box: Box, context: float = CONTEXT
) -> tuple[int, int, int, int]:
    """Crop that the official code takes for a box: enlarged, truncated, clipped to the image.

    Args:
        image_size: Width and height of the image in pixels.
        box: Left, top, right, bottom in pixels.
        context: Factor on width and height around the box's centre, default 1.2.

    Returns:
        Left, top, right, bottom in whole pixels.

    Raises:
        LanternError: nothing of the enlarged box lies inside the image.
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


def region(image_size: tuple[int, int], box: Box) -> tuple[int, int, int, int]:
    """Crop for a sample's box, as `crop_box` makes it, once the box is known to be a region.

    Args:
        image_size: Width and height of the image in pixels.
        box: Left, top, right, bottom in pixels.

    Raises:
        LanternError: the box is no region of the image (`boxes.check_in_image`).
    """
    check_in_image(image_size, box)
    return crop_box(image_size, box)


def compress(features: Float[Tensor, "tokens dim"], size: int) -> Float[Tensor, "slots dim"]:
    """Compress n vision features into K oracle latents (arXiv 2603.25629).

    The last n mod K features are dropped, and groups of n // K are averaged.

    Args:
        features: Merged vision features of a crop, [tokens, dim].
        size: Number of slots, K.

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
