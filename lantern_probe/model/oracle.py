"""Oracle latents: the compressed vision features of an image region (arXiv 2603.25629)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.tasks.crops import compress, crop_box
from lantern_probe.tasks.sample import Box

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


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
