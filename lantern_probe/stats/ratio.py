"""The ratio of two mean paired differences: a gain that is kept, an effect that is mediated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import Clusters, by_cluster, check_level, paired_differences
from lantern_probe.stats.percentile import percentile_interval
from lantern_probe.stats.ties import rescaled, settled, unit_scaled

_CHUNK = 4_000_000
"""Number of entries of a resampling matrix held at once: 32 MB of counts."""

FEWEST = 5
"""Smallest number of clusters for which a bootstrap interval is reported."""


@dataclass(frozen=True)
class Ratio:
    """Mean of one difference over the mean of another, on the same samples.

    Attributes:
        n: Number of samples.
        clusters: Number of independent units resampled.
        estimate: Ratio; NaN if it is not defined, infinite if no float is that large.
        low: Lower end of the ratio's percentile interval; minus infinity if not defined.
        high: Upper end of the ratio's percentile interval; infinity if not defined.
        level: Nominal coverage of both intervals.
        part: Mean of the numerator.
        whole: Mean of the denominator.
        whole_low: Lower end of the denominator's percentile interval.
        whole_high: Upper end of the denominator's percentile interval.
        defined: True if the denominator's interval excludes zero and there are at least `FEWEST`
            clusters. A ratio whose denominator may be zero is unbounded, and is not reported.
        resamples: Number of bootstrap resamples drawn.
        seed: Seed of the bootstrap's generator.
    """

    n: int
    clusters: int
    estimate: float
    low: float
    high: float
    level: float
    part: float
    whole: float
    whole_low: float
    whole_high: float
    defined: bool
    resamples: int
    seed: int


def ratio_of_means(
    part: ArrayLike,
    whole: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Ratio:
    """Percentile bootstrap of a ratio of two means, both taken over the same resampled clusters.

    A sum whose terms cancel up to rounding is 0. A resample with a numerator and a denominator of 0
    has no ratio and is left out; one with a denominator of 0 alone has an infinite ratio.

    Args:
        part: Numerator per sample [n], in the unit of `whole`; finite.
        whole: Denominator per sample [n]; finite.
        clusters: The image (or other unit) of each sample [n]; each sample its own if None.
        level: Nominal coverage of the ratio's and of the denominator's interval, default 0.95.
        resamples: Number of bootstrap resamples, default 10,000.
        seed: Seed of the bootstrap's generator, default 0.

    Raises:
        LanternError: lengths differ, a value is not finite, or an option is out of range.
    """
    check_level(level)
    if resamples < 1:
        raise LanternError(f"the bootstrap needs at least 1 resample, not {resamples}")
    top, above = unit_scaled(paired_differences(part))
    bottom, below = unit_scaled(paired_differences(whole))
    if len(top) != len(bottom):
        raise LanternError(f"{len(top)} numerators for {len(bottom)} denominators")
    n = len(top)
    if n == 0:
        ends = (-math.inf, math.inf)
        return Ratio(0, 0, math.nan, *ends, level, math.nan, math.nan, *ends, False, 0, seed)
    columns = [by_cluster(values, clusters)[0] for values in (top, bottom, abs(top), abs(bottom))]
    sizes = by_cluster(top, clusters)[1]
    table = np.stack([*columns, sizes], axis=1)
    drawn = _resampled(table, resamples, seed)
    tops, bottoms = settled(drawn[:, :2], drawn[:, 2:4]).T
    whole_low, whole_high = percentile_interval(bottoms / drawn[:, 4], level)
    defined = len(table) >= FEWEST and (whole_low > 0 or whole_high < 0)
    ratio = (math.nan, -math.inf, math.inf)
    if defined:
        # A resample whose denominator is zero or of the other sign is rarer than the level.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratios = np.append(tops / bottoms, top.sum() / bottom.sum())
        known = ratios[:-1][~np.isnan(ratios[:-1])]
        ratio = (float(ratios[-1]), *percentile_interval(known, level))
    estimate, low, high = (float(rescaled(end, above - below)) for end in ratio)
    return Ratio(
        n,
        len(table),
        estimate,
        low,
        high,
        level,
        float(rescaled(top.mean(), above)),
        float(rescaled(bottom.mean(), below)),
        float(rescaled(whole_low, below)),
        float(rescaled(whole_high, below)),
        defined,
        resamples,
        seed,
    )


def _resampled(
    table: Float[np.ndarray, "clusters columns"], resamples: int, seed: int
) -> Float[np.ndarray, "resamples columns"]:
    """The sums of the columns over the clusters of each resample."""
    rng, clusters = np.random.default_rng(seed), len(table)
    chunk = max(1, _CHUNK // clusters)
    drawn = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        counts = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=size)
        drawn.append(counts @ table)
    return np.concatenate(drawn)
