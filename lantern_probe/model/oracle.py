"""Oracle latents: the compressed vision features of an image region (arXiv 2603.25629)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.roles import tokens_in_box
from lantern_probe.tasks.boxes import check_in_image
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
        box: Left, top, right, bottom in pixels; None for the whole image. LanteRn's recipe scales
            it by 1.2 about its centre and cuts it out; LVR's takes the tokens of the whole image
            that lie in it, and K means of them, or each several times where they are fewer: its own
            number of latents is not fixed.

    Returns:
        One latent per slot, [K, D].

    Raises:
        LanternError: the box is no region of the image, or the region has fewer vision tokens than
            a block has slots, or the protocol has no recipe.
    """
    recipe = lantern.require_lvr().protocol.oracle
    if recipe in ("none", "helper"):
        name = lantern.require_lvr().protocol.name
        raise LanternError(f"protocol {name!r} has no oracle latents: {_NONE[recipe]}")
    if recipe == "crop":
        crop = image if box is None else image.crop(region(image.size, box))
        return compress(_features(lantern, crop)[0], lantern.latent_size)
    features, grid = _features(lantern, image)
    if box is not None:
        check_in_image(image.size, box)
        merge = lantern.processor.image_processor.merge_size
        inside = tokens_in_box(box, image.size, grid, merge_size=merge)
        features = features[inside.to(features.device)]
    size, count = lantern.latent_size, len(features)
    if count >= size:
        return compress(features, size)
    return features[torch.arange(size, device=features.device) * count // size]


_NONE = {
    "none": "what its latents were trained on is not in the released weights; leave them out",
    "helper": "they are made from a helper image, which samples do not have; leave them out",
}


def _features(lantern: LanternModel, image: Image.Image) -> tuple[Tensor, Tensor]:
    """The merged vision features of an image, [tokens, D], and its patch grid."""
    try:
        inputs = lantern.processor.image_processor(images=[image], return_tensors="pt")
    except ValueError as error:
        size = f"{image.size[0]} x {image.size[1]}"
        raise LanternError(f"a region of {size} pixels: {error}") from None
    inputs = inputs.to(lantern.device)
    output = lantern.hf.get_image_features(
        inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
    )
    return output.pooler_output[0], inputs["image_grid_thw"][0].cpu()
