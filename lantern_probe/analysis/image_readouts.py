"""Means of where latents point in the image, against the latents of other samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lantern_probe.analysis.word_readouts import PERMUTATIONS
from lantern_probe.stats import Difference, permutation_p
from lantern_probe.stats.fractions import fraction_mean
from lantern_probe.stats.resampling import image_index, permute_images


@dataclass(frozen=True, eq=False)
class ImageReading:
    """Maps of all samples' latents over all samples' images, as two numbers each.

    Attributes:
        centred: True if the mean token of each image was taken from both sides.
        samples: Ids of the samples.
        clusters: Keys shared by samples of one image.
        percentile: Percentile of the box among windows of its size, by the image, the sample whose
            latents are compared with it, and the slot, [images, donors, slots].
        pointing: 1 where the nearest token lies in the box, else 0, [images, donors, slots].
        chance: Fraction of each image's tokens that lie in the box, [images].
    """

    centred: bool
    samples: list[str]
    clusters: list[str]
    percentile: Float[np.ndarray, "images donors slots"]
    pointing: Float[np.ndarray, "images donors slots"]
    chance: Float[np.ndarray, " images"]


@dataclass(frozen=True)
class ImageMean:
    """Measure of how well the latents of one slot, or of all, point into the box.

    Attributes:
        model: Name of the model.
        measure: `percentile` (.5 is expected of a place without meaning) or `pointing`.
        centred: True for centred cosines.
        slot: 0-based slot; None for the mean over all.
        mean: Mean over the samples with its 95 % interval, clustered by image.
        chance: Value of a map without meaning: .5, or the mean fraction of tokens in the box.
        permuted: Mean over permutations that give every image another sample's latents.
        p: One-sided p of that permutation test, in which images move as a whole: the own latents
            point better than those of other samples. It takes out what the model prefers anywhere.
        permutations: Number of permutations.
    """

    model: str
    measure: str
    centred: bool
    slot: int | None
    mean: Difference
    chance: float
    permuted: float
    p: float
    permutations: int


def summarize(reading: ImageReading, *, model: str, seed: int = 0) -> list[ImageMean]:
    """Average both measures over the samples, over all slots and slot by slot, and test them.

    Args:
        reading: Reading of one model.
        model: Name of the model.
        seed: Seed of the permutations, default 0.
    """
    images_of = image_index(reading.clusters, len(reading.samples))
    partners = permute_images(images_of, PERMUTATIONS, seed)
    found = []
    for measure, values in (("percentile", reading.percentile), ("pointing", reading.pointing)):
        for slot in (None, *range(values.shape[-1])):
            some = values.mean(-1) if slot is None else values[..., slot]
            images = np.arange(len(some))
            drawn = some[images, partners].mean(1)
            own = some[images, images]
            chance = 0.5 if measure == "percentile" else float(reading.chance.mean())
            found.append(
                ImageMean(
                    model=model,
                    measure=measure,
                    centred=reading.centred,
                    slot=slot,
                    mean=fraction_mean(own, reading.clusters),
                    chance=chance,
                    permuted=float(drawn.mean()),
                    p=permutation_p(float(own.mean()), drawn),
                    permutations=PERMUTATIONS,
                )
            )
    return found
