"""The ratio of two mean paired differences: a gain that is kept, an effect that is mediated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import Clusters, by_cluster, check_level, paired_differences

RESAMPLES_AT_ONCE = 1_000

FEWEST = 5
"""Clusters below which a bootstrap interval says nothing."""


@dataclass(frozen=True)
class Ratio:
    """Mean of one difference over the mean of another, on the same samples.

    Attributes:
        n: Samples.
        clusters: Independent units resampled.
        estimate: The ratio; NaN where `defined` is False.
        low: Lower end of the percentile interval; minus infinity where not defined.
        high: Upper end; infinity where not defined.
        level: Nominal coverage.
        part: Mean of the numerator.
        whole: Mean of the denominator.
        whole_low: Lower end of the denominator's own percentile interval.
        whole_high: Upper end.
        defined: Whether that interval leaves zero out, and there are clusters enough for it to
            mean anything. A ratio to something that may be zero can be anything, and is not
            reported.
        resamples: Bootstrap resamples drawn.
        seed: Seed of their generator.
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

    Args:
        part: Numerator per sample [n], in the unit of `whole`; finite.
        whole: Denominator per sample [n]; finite.
        clusters: The image (or other unit) of each sample [n]; each sample its own if None.
        level: Nominal coverage, of the ratio's and of the denominator's interval.
        resamples: Bootstrap resamples.
        seed: Of the generator.

    Raises:
        LanternError: lengths differ, a value is not finite, or an option is out of range.
    """
    check_level(level)
    if resamples < 1:
        raise LanternError(f"the bootstrap needs at least 1 resample, not {resamples}")
    top, bottom = paired_differences(part), paired_differences(whole)
    if len(top) != len(bottom):
        raise LanternError(f"{len(top)} numerators for {len(bottom)} denominators")
    n = len(top)
    if n == 0:
        ends = (-math.inf, math.inf)
        return Ratio(0, 0, math.nan, *ends, level, math.nan, math.nan, *ends, False, 0, seed)
    tops, sizes = by_cluster(top, clusters)
    bottoms, _ = by_cluster(bottom, clusters)
    table = np.stack([tops, bottoms, sizes.astype(float)], axis=1)
    rng = np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, resamples - start)
        counts = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=size)
        drawn.append(counts @ table)
    totals = np.concatenate(drawn)
    tails = [(1 - level) / 2, (1 + level) / 2]
    whole_low, whole_high = np.quantile(totals[:, 1] / totals[:, 2], tails)
    defined = bool(len(table) >= FEWEST and (whole_low > 0 or whole_high < 0))
    estimate, low, high = math.nan, -math.inf, math.inf
    if defined:
        # A resample whose denominator is zero or of the other sign is rarer than the level.
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = totals[:, 0] / totals[:, 1]
        estimate = float(top.sum() / bottom.sum())
        low, high = (float(end) for end in np.nanquantile(ratios, tails))
    return Ratio(
        n,
        len(table),
        estimate,
        low,
        high,
        level,
        float(top.mean()),
        float(bottom.mean()),
        float(whole_low),
        float(whole_high),
        defined,
        resamples,
        seed,
    )
