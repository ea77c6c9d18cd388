"""Nearest image tokens of the latents: where in the image a slot points, if it points anywhere.

The cosine of a latent fed at a slot to every merged image token of the first image, as a map. Raw
cosines are dominated by what all tokens share, so the centred ones, from which the mean token of
the image is taken on both sides, are given beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import normalize

from lantern_probe.analysis.image_readouts import ImageReading
from lantern_probe.capture.attention_measures import enrichment
from lantern_probe.capture.word_readouts import CROSSED
from lantern_probe.errors import LanternError
from lantern_probe.model.roles import tokens_in_box
from lantern_probe.records.store import Store
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

LATENTS = "latent@slot"
"""Site whose vectors are compared with the image: the latents fed at the slots."""


@torch.no_grad()
def image_tokens(
    lantern: LanternModel, sample: Sample
) -> tuple[Float[Tensor, "tokens dim"], Int[Tensor, " 3"]]:
    """Merged tokens of a sample's first image, and its patch grid (time, height, width).

    Args:
        lantern: The model.
        sample: The sample, with an image that can be read.
    """
    inputs = lantern.inputs([sample]).to(lantern.device)
    grid = inputs["image_grid_thw"]
    output = lantern.hf.get_image_features(inputs["pixel_values"], grid, return_dict=True)
    return output.pooler_output[0].float().cpu(), grid[0].cpu()


def cosine_maps(
    latents: Float[Tensor, "*at dim"], tokens: Float[Tensor, "tokens dim"], *, centred: bool
) -> Float[Tensor, "*at tokens"]:
    """Cosine of every latent to every image token.

        >>> import torch
        >>> from lantern_probe.capture import cosine_maps
        >>> tokens = torch.eye(3)
        >>> cosine_maps(torch.tensor([0.0, 2.0, 0.0]), tokens, centred=False).tolist()
        [0.0, 1.0, 0.0]

    Args:
        latents: Latents.
        tokens: Merged tokens of one image.
        centred: Take the mean of the tokens from both sides first.
    """
    latents, tokens = latents.float(), tokens.float()
    if centred:
        mean = tokens.mean(0)
        latents, tokens = latents - mean, tokens - mean
    return normalize(latents, dim=-1) @ normalize(tokens, dim=-1).T


def read_image_tokens(
    lantern: LanternModel,
    store: Store,
    samples: Sequence[Sample],
    *,
    centred: bool,
    advance: Callable[[], None] = lambda: None,
) -> ImageReading:
    """Compare the latents of every sample with the tokens of every sample's image.

    Args:
        lantern: The model that was captured.
        store: The capture, with `latent@slot`.
        samples: Samples; those without a box, a whole block or a capture are left out, and those
            whose box fills the image, where every window is the box.
        centred: Take the mean token of each image from latents and tokens first.
        advance: Function called after each sample.

    Raises:
        LanternError: fewer than two samples are left.
    """
    by_id = {sample.id: sample for sample in samples}
    array = store.array(LATENTS).float()
    places = [
        place
        for place, row in enumerate(store.samples)
        if (sample := by_id.get(row["sample"])) is not None
        and sample.boxes
        and bool(torch.isfinite(array[place]).all())
    ][:CROSSED]
    latents = array[places]
    rows = [store.samples[place] for place in places]
    kept, percentiles, pointing, chance = [], [], [], []
    for index, row in enumerate(rows):
        sample = by_id[row["sample"]]
        tokens, grid = image_tokens(lantern, sample)
        inside = tokens_in_box(sample.boxes[0], sample.open_images()[0].size, grid)
        maps = cosine_maps(latents, tokens, centred=centred)  # [donors, slots, tokens]
        height, width = int(grid[1]) // 2, int(grid[2]) // 2
        # Windows add up what must not be negative.
        raised = ((1 + maps) / 2).reshape(*maps.shape[:2], height, width)
        found = enrichment(raised, inside)
        advance()
        if found.windows == 1:
            continue
        kept.append(index)
        percentiles.append(found.percentile)
        hit = torch.isin(maps.argmax(-1), inside)
        pointing.append(hit.float())
        chance.append(len(inside) / len(tokens))
    if len(kept) < 2:
        raise LanternError(
            "fewer than two samples have a latent block and a box smaller than their image; a map "
            "over the image needs both, to be compared with that of another sample's latents"
        )
    return ImageReading(
        centred=centred,
        samples=[rows[index]["sample"] for index in kept],
        clusters=[rows[index]["cluster"] for index in kept],
        percentile=torch.stack(percentiles)[:, kept].double().numpy(),
        pointing=torch.stack(pointing)[:, kept].double().numpy(),
        chance=np.array(chance),
    )


def slot_maps(
    lantern: LanternModel, store: Store, samples: Sequence[Sample], count: int, *, centred: bool
) -> list[tuple[Sample, Image, Float[Tensor, "slots height width"]]]:
    """Cosine maps of the slots of a few samples, with their first images, to be drawn.

    Args:
        lantern: The model that was captured.
        store: The capture, with `latent@slot`.
        samples: Samples; those that were not captured or lack a whole block are passed over.
        count: Most samples.
        centred: As in `cosine_maps`.
    """
    array = store.array(LATENTS).float()
    places = {row["sample"]: place for place, row in enumerate(store.samples)}
    found: list[tuple[Sample, Image, Tensor]] = []
    for sample in samples:
        place = places.get(sample.id)
        if len(found) == count or place is None or not bool(torch.isfinite(array[place]).all()):
            continue
        tokens, grid = image_tokens(lantern, sample)
        maps = cosine_maps(array[place], tokens, centred=centred)
        shape = (len(maps), int(grid[1]) // 2, int(grid[2]) // 2)
        found.append((sample, sample.open_images()[0], maps.reshape(shape)))
    return found
