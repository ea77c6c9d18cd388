"""Bootstrap intervals of a mean paired difference, with whole clusters resampled.

Three methods. `studentised` is the one for means: resampled t statistics, and never narrower than
the t interval. `bca` and `percentile` are Efron's (1987).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Num
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import (
    Clusters,
    by_cluster,
    check_level,
    paired_differences,
)
from lantern_probe.stats.percentile import percentile_interval, shares_interval
from lantern_probe.stats.ties import TIE, merged, reaches, rescaled, unit_scaled

STUDENTISED = "studentised"
BOOTSTRAPS = ("bca", "percentile")
"""Bootstraps of the distribution of the mean itself."""

_CHUNK = 4_000_000
"""Number of entries of a resampling matrix held at once: 32 MB of counts."""


@dataclass(frozen=True)
class Difference:
    """Mean of the first condition minus the second's on the same samples, with its interval.

    Attributes:
        n: Number of samples.
        clusters: Number of independent units: images, or the samples themselves.
        estimate: Mean difference, of accuracies in [-1, 1]; NaN if n is 0.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Nominal coverage of the interval.
        method: Name of the interval. `tango` or `exact bound` of accuracies
            (`accuracy_difference`), `wilson` or `exact bound` of a fraction (`clustered_share`),
            `studentised` or `undefined` of means (`mean_difference`); `bca` or `percentile`.
        resamples: Number of bootstrap resamples drawn; 0 for the other intervals.
        seed: Seed of the bootstrap's generator.
        discordant: Number of samples on which two accuracies differ; None for other measures.
        design_effect: Factor by which repeated images inflate the variance of an accuracy or a
            fraction; 1 without them, and for means, whose clusters are resampled.
    """

    n: int
    clusters: int
    estimate: float
    low: float
    high: float
    level: float
    method: str
    resamples: int
    seed: int
    discordant: int | None = None
    design_effect: float = 1.0


def bootstrap_outcomes(
    differences: Int[np.ndarray, " n"],
    clusters: Clusters,
    *,
    level: float,
    resamples: int,
    seed: int,
    method: str,
) -> Difference:
    """Bootstrap interval of the mean of differences -1, 0 and 1, whole clusters resampled.

    `bca` is Efron's (1987) bias-corrected and accelerated interval, with the acceleration from the
    jackknife over clusters; `percentile` takes the plain quantiles (`percentile_interval`).
    Resamples that equal the estimate up to rounding count half in the bias correction.

    Where all clusters have the same mean, every resample is equal, and its interval would have no
    width. Reported instead is an `exact bound`: with g clusters alike, the fraction q of clusters
    unlike them is at most 1 - (alpha/2)^(1/g), and those may differ by up to 1 in either direction.

    Args:
        differences: Differences of outcomes per sample [n].
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
        level: Nominal coverage.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap's generator.
        method: One of `BOOTSTRAPS`.
    """
    n = len(differences)
    sums, sizes = by_cluster(differences, clusters)
    groups = len(sums)
    if n == 0:
        return Difference(0, 0, math.nan, -1.0, 1.0, level, "exact bound", 0, seed)
    if np.all(sums * n == sizes * sums.sum()):
        estimate = float(sums.sum() / n)
        q = 1 - ((1 - level) / 2) ** (1 / groups)
        low, high = estimate - q * (1 + estimate), estimate + q * (1 - estimate)
        return Difference(n, groups, estimate, low, high, level, "exact bound", 0, seed)
    return _bootstrap(sums, sizes, level, resamples, seed, method)


def mean_difference(
    differences: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    method: str = STUDENTISED,
) -> Difference:
    """Bootstrap interval of a mean difference of any measure, such as log-odds, in its own unit.

    `studentised` resamples t statistics of whole clusters (Efron & Tibshirani 1993, 12.5) and is
    never narrower than the t interval with one degree of freedom less than clusters. It holds its
    level with few clusters and with skewed or mostly zero values, where `bca` and `percentile` are
    too narrow. An end is infinite where resamples without any spread are more frequent than
    (1 - level) / 2, as where all but three of the samples are 0: such data do not bound a mean.

    Args:
        differences: First condition minus second, per sample [n]; finite.
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
        level: Nominal coverage, default 0.95.
        resamples: Number of bootstrap resamples, default 10,000.
        seed: Seed of the bootstrap's generator, default 0; equal input and seed give equal ends.
        method: `studentised` (default), `bca` or `percentile`; the result says `percentile` where
            BCa is undefined.

    Returns:
        Mean difference with its interval. The interval is infinite, with the method `undefined`,
        without samples or if all clusters have the same mean: an unbounded measure has no bound.

    Raises:
        LanternError: a value is not a finite number, or an option is out of range.
    """
    _check(level, resamples, method)
    values, exponent = unit_scaled(paired_differences(differences))
    sums, sizes = by_cluster(values, clusters)
    totals, _ = by_cluster(np.abs(values), clusters)
    # All are below 1 now, so that `TIE` is the largest difference that rounding makes.
    if len(values) == 0 or np.ptp(sums / sizes) <= TIE:
        estimate = float(rescaled(values.mean(), exponent)) if len(values) else math.nan
        ends = (-math.inf, math.inf)
        return Difference(len(values), len(sums), estimate, *ends, level, "undefined", 0, seed)
    found = _bootstrap(merged(sums, totals), sizes, level, resamples, seed, method)
    estimate, low, high = rescaled([values.mean(), found.low, found.high], exponent).tolist()
    return replace(found, estimate=estimate, low=low, high=high)


def _check(level: float, resamples: int, method: str) -> None:
    check_level(level)
    if method not in (STUDENTISED, *BOOTSTRAPS):
        raise LanternError(
            f"no bootstrap method {method!r}; choose {STUDENTISED!r}, 'bca' or 'percentile'"
        )
    if resamples < 1:
        raise LanternError(f"the bootstrap needs at least 1 resample, not {resamples}")


def _bootstrap(
    sums: Num[np.ndarray, " g"],
    sizes: Int[np.ndarray, " g"],
    level: float,
    resamples: int,
    seed: int,
    method: str,
) -> Difference:
    n = int(sizes.sum())
    estimate = float(sums.sum() / n)
    if method == STUDENTISED:
        low, high = _studentised(sums, sizes, level, resamples, seed)
        return Difference(n, len(sums), estimate, low, high, level, method, resamples, seed)
    draws = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
    shares = _bca_shares(level, draws, estimate, sums, sizes) if method == "bca" else None
    if shares is None:
        # Too skewed for the correction to have a meaning: the result names the other method.
        method, (low, high) = "percentile", percentile_interval(draws, level)
    else:
        low, high = shares_interval(draws, *shares)
    return Difference(n, len(sums), estimate, low, high, level, method, resamples, seed)


def _studentised(
    sums: Num[np.ndarray, " g"],
    sizes: Int[np.ndarray, " g"],
    level: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """The interval whose ends are the estimate minus resampled t statistics, times its error."""
    groups, n = len(sums), int(sizes.sum())
    estimate = float(sums.sum() / n)
    # What is left of a cluster's sum without the mean: of order 1, and 0 in sum.
    rest = sums - sizes * estimate
    factor = groups / (groups - 1)
    error = math.sqrt(factor * float((rest**2).sum())) / n
    table = np.stack([rest, sizes, rest**2, rest * sizes, sizes.astype(np.float64) ** 2], axis=1)
    total = _resampled_sums(table, resamples, np.random.default_rng(seed))
    shift = total[:, 0] / total[:, 1]
    squares = total[:, 2] - 2 * shift * total[:, 3] + shift**2 * total[:, 4]
    size = total[:, 2] + shift**2 * total[:, 4]
    squares = np.where(squares <= TIE * size, 0.0, squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = shift / (np.sqrt(factor * squares) / total[:, 1])
    ratios[np.isnan(ratios)] = 0.0  # a resample of no spread that equals the estimate
    tail = (1 - level) / 2
    below, above = percentile_interval(ratios, level)
    widest = float(t.isf(tail, groups - 1)) if groups > 1 else math.inf
    return (
        estimate - max(above, widest, 0.0) * error,
        estimate - min(below, -widest, 0.0) * error,
    )


def _resampled_means(
    sums: Num[np.ndarray, " g"],
    sizes: Int[np.ndarray, " g"],
    resamples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " resamples"]:
    total = _resampled_sums(np.stack([sums, sizes], axis=1), resamples, rng)
    return total[:, 0] / total[:, 1]


def _resampled_sums(
    table: Num[np.ndarray, "g columns"], resamples: int, rng: np.random.Generator
) -> Num[np.ndarray, "resamples columns"]:
    # Clusters with equal entries are interchangeable, so drawing how often each *kind* occurs is
    # the same bootstrap, with a handful of columns in place of thousands.
    groups = len(table)
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    chunk = max(1, _CHUNK // len(kinds))
    drawn = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn.append(rng.multinomial(groups, counts / groups, size=size) @ kinds)
    return np.concatenate(drawn)


def _bca_shares(
    level: float,
    draws: NDArray[np.float64],
    estimate: float,
    sums: Num[np.ndarray, " g"],
    sizes: Int[np.ndarray, " g"],
) -> tuple[float, float] | None:
    """Probabilities of the bootstrap quantiles that BCa takes; None if undefined."""
    # The statistic is discrete: resamples equal to the estimate count half.
    slack = TIE * float(np.abs(sums).sum() / sizes.sum())
    at_least, at_most = reaches(draws, estimate, slack), reaches(-draws, -estimate, slack)
    below = (1 - np.mean(at_least) + np.mean(at_most)) / 2
    bias = norm.ppf(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    gap = left_out.mean() - left_out
    gap /= np.abs(gap).max()  # cubes of small numbers vanish
    acceleration = (gap**3).sum() / (6 * (gap**2).sum() ** 1.5)
    z = bias + norm.isf((1 - level) / 2) * np.array([-1, 1])
    scale = 1 - acceleration * z
    if np.any(scale <= 0):
        return None
    low, high = norm.cdf(bias + z / scale)
    return float(low), float(high)
