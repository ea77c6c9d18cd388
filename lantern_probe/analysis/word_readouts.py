"""Means of word readouts over samples, each beside the same readout of other samples' vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from lantern_probe.stats import Difference, holm, mean_difference, permutation_p
from lantern_probe.stats.fractions import fraction_mean
from lantern_probe.stats.resampling import image_index, permute_images

PERMUTATIONS = 999
"""Number of permutations of a test."""

RESAMPLES = 2_000
"""Number of bootstrap resamples of an interval."""

MEASURES = ("rank", "probability", "margin", "first")
"""Measures of one vector about one text among others; see `WordReading`."""


@dataclass(frozen=True, eq=False)
class WordReading:
    """Readout of one text of each sample from the vectors of one site.

    Measures, each [samples, slots]: `rank`, the place of the text's best token in the whole
    vocabulary, 1 for the first; `probability`, of the text among the options; `margin`, its logit
    minus the largest of the other options; `first`, 1 where it comes before all other options.

    Attributes:
        site: Label of the site.
        target: `answer`, or the attribute whose value is the text.
        samples: Ids of the samples.
        clusters: Keys shared by samples of one image.
        texts: Text of each sample.
        chance: For every sample, 1 over its number of options, [samples].
        own: Measures of the sample's own vectors.
        crossed: Probability of the first samples' texts, by the sample whose text is read and the
            sample whose vectors it is read from, [texts, vectors, slots].
        untrained: Probability under a head of random directions; None where it was not made.
        end_cosine: Cosine of the own vectors to the end marker's direction, [samples, slots].
    """

    site: str
    target: str
    samples: list[str]
    clusters: list[str]
    texts: list[str]
    chance: Float[np.ndarray, " samples"]
    own: Mapping[str, Float[np.ndarray, "samples slots"]]
    crossed: Float[np.ndarray, "crossed crossed slots"]
    untrained: Float[np.ndarray, "samples slots"] | None
    end_cosine: Float[np.ndarray, "samples slots"]


@dataclass(frozen=True)
class WordMean:
    """Probability of a text at one site, over the samples.

    A value of a sample is the mean over the site's slots, unless a slot is named.

    Attributes:
        model: Name of the model.
        site: Label of the site.
        target: `answer`, or the attribute whose value is read.
        slot: 0-based slot; None for the mean over all.
        mean: Mean probability of the text among the options, from the own vectors, with its 95 %
            interval, clustered by image.
        first: Fraction in which the text comes before all other options.
        chance: Mean of 1 over the number of options.
        other: Mean from the vectors of the samples of other images whose text differs; None where
            there are none.
        contrast: Own minus other, paired by sample, with its 95 % interval; None without others.
        untrained: Mean under a head of random directions; None where it was not made.
        p: One-sided p of a permutation test: the own vectors say more than those of other samples,
            given to the texts at random, images moving as a whole.
        p_holm: The same after Holm over the sites of one call, for the mean over slots.
        permutations: Number of permutations.
        rank: Median rank of the text's best token in the whole vocabulary, 1 for the first.
        end_cosine: Mean cosine of the vectors to the end marker's direction.
    """

    model: str
    site: str
    target: str
    slot: int | None
    mean: Difference
    first: float
    chance: float
    other: float | None
    contrast: Difference | None
    untrained: float | None
    p: float | None
    p_holm: float | None
    permutations: int
    rank: float
    end_cosine: float


def summarize(readings: Sequence[WordReading], *, model: str, seed: int = 0) -> list[WordMean]:
    """Average readings over the samples: every site as a whole, then slot by slot.

    Vectors that are lacking, as of a text without a block, are left out; `mean.n` counts the
    samples that have them.

    Args:
        readings: Readings of one model and one target.
        model: Name of the model.
        seed: Seed of the permutations, default 0.
    """
    whole = [_mean(one, None, model, seed) for one in readings]
    found = [one for one in whole if one is not None]
    adjusted = holm([one.p for one in found])
    found = [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]
    for one in readings:
        slots = one.end_cosine.shape[1]
        if slots > 1:
            each = [_mean(one, slot, model, seed) for slot in range(slots)]
            found += [mean for mean in each if mean is not None]
    return found


def _mean(reading: WordReading, slot: int | None, model: str, seed: int) -> WordMean | None:
    def by_sample(values: Float[np.ndarray, "*at slots"]) -> Float[np.ndarray, "*at"]:
        return values.mean(-1) if slot is None else values[..., slot]

    own = by_sample(reading.own["probability"])
    have = np.isfinite(own)
    if not have.any():
        return None
    clusters, texts = np.array(reading.clusters), np.array(reading.texts)
    # Crossed are the first samples only, of which those without vectors are left out too.
    some = np.flatnonzero(have[: len(reading.crossed)])
    crossed = by_sample(reading.crossed)[np.ix_(some, some)]
    unlike = texts[some][:, None] != texts[some]
    unlike &= clusters[some][:, None] != clusters[some]
    told = np.flatnonzero(unlike.any(1))
    other, gain = _against_others(crossed[np.ix_(told, told)], unlike[np.ix_(told, told)])
    contrast = None
    if len(told):
        contrast = mean_difference(gain, clusters[some][told], resamples=RESAMPLES)
    p = None
    if len(some) > 1:
        partners = permute_images(image_index(clusters[some], len(some)), PERMUTATIONS, seed)
        texts_of = np.arange(len(some))
        p = permutation_p(float(np.diag(crossed).mean()), crossed[texts_of, partners].mean(1))
    ranks, untrained = reading.own["rank"][have], reading.untrained
    return WordMean(
        model=model,
        site=reading.site,
        target=reading.target,
        slot=slot,
        mean=_interval(own[have], clusters[have]),
        first=float(by_sample(reading.own["first"])[have].mean()),
        chance=float(reading.chance[have].mean()),
        other=float(other.mean()) if len(told) else None,
        contrast=contrast,
        untrained=None if untrained is None else float(by_sample(untrained)[have].mean()),
        p=p,
        p_holm=None,
        permutations=PERMUTATIONS,
        rank=float(np.median(ranks if slot is None else ranks[:, slot])),
        end_cosine=float(by_sample(reading.end_cosine)[have].mean()),
    )


def _against_others(
    crossed: Float[np.ndarray, "n n"], unlike: Bool[np.ndarray, "n n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """For each sample its text in others' vectors, and its part in the mean of own minus others.

    A sample's vectors also say something about the texts of others. Its part counts that, as the
    linear part of a statistic over pairs does (Hoeffding 1948); without it the parts vary too
    little, and an interval made of them is too narrow.

    Args:
        crossed: Probability of each text from each sample's vectors, [texts, vectors].
        unlike: Pairs of samples of other images with other texts; symmetric, some in every row.
    """
    if not len(crossed):
        return np.zeros(0), np.zeros(0)
    counts = unlike.sum(1)
    in_others, of_others = (crossed * unlike).sum(1) / counts, (crossed * unlike).sum(0) / counts
    return in_others, np.diag(crossed) - in_others - (of_others - of_others.mean())


def _interval(values: Float[np.ndarray, " n"], clusters: np.ndarray) -> Difference:
    """A studentised interval, or that of counts where all fractions are alike."""
    found = mean_difference(values, clusters, resamples=RESAMPLES)
    return fraction_mean(values, clusters) if found.method == "undefined" else found


def rank_map(
    readings: Sequence[WordReading],
) -> tuple[list[str], Float[np.ndarray, "layers slots"]]:
    """Median rank of the text over the samples, by site and slot, for the sites with most slots.

    Args:
        readings: Readings of one model and one target.

    Returns:
        Labels of the sites, from the latents up the layers, and the median ranks.
    """
    most = max((one.own["rank"].shape[1] for one in readings), default=0)
    some = [one for one in readings if one.own["rank"].shape[1] == most]
    return [one.site for one in some], np.array(
        [np.nanmedian(one.own["rank"], axis=0) for one in some]
    ).reshape(len(some), most)
