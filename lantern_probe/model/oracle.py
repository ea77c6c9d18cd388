"""Oracle latents: the compressed vision features of an image region (arXiv 2603.25629)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.tasks.crops import compress, region
from lantern_probe.tasks.sample import Box

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@torch.no_grad()
def region_latents(
    lantern: LanternModel, image: Image.Image, box: Box | None
) -> Float[Tensor, "slots dim"]:
    """Oracle latents of one region of an image: its vision features, grouped into K means.

        >>> latents = region_latents(lantern, sample.open_images()[0], sample.boxes[0])
        >>> latents.shape
        torch.Size([8, 128])

    Args:
        lantern: The model, whose vision tower and K are used.
        image: The image.
        box: Left, top, right, bottom in pixels, scaled by 1.2 about its centre before it is cut
            out; None for the whole image.

    Returns:
        One latent per slot, [K, D].

    Raises:
        LanternError: the box is no region of the image, or the region has fewer vision tokens than
            a block has slots.
    """
    crop = image if box is None else image.crop(region(image.size, box))
    try:
        inputs = lantern.processor.image_processor(images=[crop], return_tensors="pt")
    except ValueError as error:
        raise LanternError(f"a region of {crop.size[0]} x {crop.size[1]} pixels: {error}") from None
    inputs = inputs.to(lantern.device)
    output = lantern.hf.get_image_features(
        inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
    )
    return compress(output.pooler_output[0], lantern.latent_size)
