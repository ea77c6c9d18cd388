"""Images resampled or exchanged as a whole; intervals of means and ratios."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from lantern_probe.errors import LanternError
from lantern_probe.stats import Clusters
from lantern_probe.stats.percentile import percentile_interval


def image_index(images: Clusters, n: int) -> Int[np.ndarray, " n"]:
    """The image of each sample as a number from 0 on, by first appearance.

    Raises:
        LanternError: the images are not one per sample, or one is None.
    """
    if images is None:
        return np.arange(n)
    ids = images.tolist() if isinstance(images, np.ndarray) else list(images)
    if len(ids) != n:
        raise LanternError(f"{len(ids)} images for {n} samples; give one per sample")
    if None in ids:
        raise LanternError(f"sample {ids.index(None)} (counted from 0) has no image; give it one")
    index = {name: i for i, name in enumerate(dict.fromkeys(ids))}
    return np.fromiter((index[name] for name in ids), np.int64, n)


def image_sums(
    values: Num[np.ndarray, "n ..."], images: Int[np.ndarray, " n"]
) -> Num[np.ndarray, "g ..."]:
    """The sum over the samples of each image."""
    if int(images.max()) + 1 == len(images):
        return values  # each sample its own image, numbered in order
    order = np.argsort(images, kind="stable")
    starts = np.flatnonzero(np.diff(images[order], prepend=-1))
    return np.add.reduceat(values[order], starts, axis=0)


def bootstrap_counts(
    images: Int[np.ndarray, " n"], resamples: int, seed: int
) -> Float[np.ndarray, "resamples g"]:
    """Number of times that each image occurs in each resample with replacement."""
    if resamples < 1:
        raise LanternError(f"the bootstrap needs at least 1 resample, not {resamples}")
    g = int(images.max()) + 1
    draws = np.random.default_rng(seed).multinomial(g, np.full(g, 1 / g), size=resamples)
    return draws.astype(np.float32)


def permute_images(
    images: Int[np.ndarray, " n"], permutations: int, seed: int
) -> Int[np.ndarray, "permutations n"]:
    """Random partners: permutations of the samples in which images move as a whole.

    An image changes places with another of as many samples, and the order within it is kept, since
    samples of one image are not exchangeable with those of another. An image whose number of
    samples is unique is never moved: the test loses power, not validity.

    Raises:
        LanternError: less than one permutation is asked for.
    """
    if permutations < 1:
        raise LanternError(f"a permutation test needs at least 1 permutation, not {permutations}")
    rng = np.random.default_rng(seed)
    partners = np.empty((permutations, len(images)), np.int32)
    order = np.argsort(images, kind="stable").astype(np.int32)
    sizes = np.bincount(images)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        members = order[starts[sizes == size][:, None] + np.arange(size)]
        places = np.tile(np.arange(len(members), dtype=np.int32), (permutations, 1))
        moved = rng.permuted(places, axis=1)
        partners[:, members.ravel()] = members[moved].reshape(permutations, -1)
    return partners


def interval(
    draws: Shaped[np.ndarray, " resamples"], level: float
) -> tuple[float | None, float | None]:
    """The `percentile_interval` of bootstrap draws, those without a finite value left out."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return None, None
    return percentile_interval(draws, level)


def ratios(
    counts: Float[np.ndarray, "resamples g"],
    numerators: Num[np.ndarray, " g"],
    denominators: Num[np.ndarray, " g"],
) -> Float[np.ndarray, " resamples"]:
    """Sum over sum in each resample; NaN where the denominator is 0."""
    below = counts @ denominators
    return np.divide(counts @ numerators, below, out=np.full(len(counts), np.nan), where=below > 0)
