"""Bootstrap intervals of a mean paired difference, with whole clusters resampled."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Num
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import (
    Clusters,
    by_cluster,
    check_level,
    paired_differences,
    paired_outcomes,
)
from lantern_probe.stats.percentile import percentile_interval, shares_interval
from lantern_probe.stats.ties import TIE, merged, reaches, rescaled, unit_scaled

_CHUNK = 4_000_000
"""Number of entries of a resampling matrix held at once: 32 MB of counts."""


@dataclass(frozen=True)
class Difference:
    """Mean of the first condition minus the second's on the same samples, with its interval.

    Attributes:
        n: Number of samples.
        clusters: Number of independent units resampled: images, or the samples themselves.
        estimate: Mean difference, of accuracies in [-1, 1]; NaN if n is 0.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Nominal coverage of the interval.
        method: `bca` or `percentile`; `exact bound` or `undefined` if resampling has no spread
            (see `accuracy_difference` and `mean_difference`).
        resamples: Number of bootstrap resamples drawn.
        seed: Seed of the bootstrap's generator.
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


def accuracy_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    method: str = "bca",
) -> Difference:
    """Bootstrap interval of the accuracy difference of two conditions, paired by sample.

    Whole clusters are resampled with replacement and the mean is taken over the samples drawn,
    so that questions about one image never count as independent. `bca` is Efron's (1987)
    bias-corrected and accelerated interval, with the acceleration from the jackknife over
    clusters; `percentile` takes the plain quantiles (see `percentile_interval`). Resamples that
    equal the estimate up to rounding count half in the bias correction.

    Where all clusters have the same mean difference (no discordant sample; one cluster), every
    resample is equal and its interval would have no width, which would claim certainty from, say,
    five samples. Reported instead is an `exact bound`: with g clusters alike, the share q of
    clusters that are unlike them is at most 1 - (alpha/2)^(1/g), and those may differ by up to 1
    in either direction.

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
        level: Nominal coverage, default 0.95.
        resamples: Number of bootstrap resamples, default 10,000.
        seed: Seed of the bootstrap's generator, default 0; equal input and seed give equal ends.
        method: `bca` or `percentile`; the result says `percentile` where BCa is undefined.

    Raises:
        LanternError: lengths differ, a value is neither 0 nor 1, or an option is out of range.
    """
    _check(level, resamples, method)
    one, two = paired_outcomes(first, second)
    n = len(one)
    sums, sizes = by_cluster(one - two, clusters)
    groups = len(sums)
    if n == 0:
        return Difference(0, 0, math.nan, -1.0, 1.0, level, "exact bound", 0, seed)
    if np.all(sums * n == sizes * sums.sum()):
        estimate = float(sums.sum() / n)
        q = 1 - ((1 - level) / 2) ** (1 / groups)
        low, high = estimate - q * (1 + estimate), estimate + q * (1 - estimate)
        return Difference(n, groups, estimate, low, high, level, "exact bound", 0, seed)
    return _bootstrap(sums, sizes, level, resamples, seed, method)


def clustered_share(
    outcomes: ArrayLike, clusters: Clusters = None, *, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Bootstrap interval, 95 %, of a fraction whose samples come in clusters, such as pairs.

    If all clusters have the same mean, resampling has no spread. The exact bound is then that of a
    fraction in [0, 1]: with g clusters at 0, at most 1 - .025^(1/g).

    Args:
        outcomes: 1 or 0 (True, False) per sample [n].
        clusters: As in `accuracy_difference`.
        resamples: Number of bootstrap resamples, default 10,000.
        seed: Seed of the bootstrap's generator, default 0.

    Raises:
        LanternError: as for `accuracy_difference`.
    """
    values = np.asarray(outcomes)
    zeros = np.zeros(values.shape, int)
    found = accuracy_difference(values, zeros, clusters, resamples=resamples, seed=seed)
    if found.method != "exact bound" or found.n == 0:
        return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))
    q = 1 - ((1 - found.level) / 2) ** (1 / found.clusters)
    return replace(
        found, low=found.estimate * (1 - q), high=found.estimate + q * (1 - found.estimate)
    )


def mean_difference(
    differences: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    method: str = "bca",
) -> Difference:
    """Bootstrap interval of a mean difference of any measure, such as log-odds, in its own unit.

    Args:
        differences: First condition minus second, per sample [n]; finite.
        clusters: As in `accuracy_difference`; so are the options.

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
    if method not in ("bca", "percentile"):
        raise LanternError(f"no bootstrap method {method!r}; choose 'bca' or 'percentile'")
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
    draws = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
    shares = _bca_shares(level, draws, estimate, sums, sizes) if method == "bca" else None
    if shares is None:
        # Too skewed for the correction to have a meaning: the result names the other method.
        method, (low, high) = "percentile", percentile_interval(draws, level)
    else:
        low, high = shares_interval(draws, *shares)
    return Difference(n, len(sums), estimate, low, high, level, method, resamples, seed)


def _resampled_means(
    sums: Num[np.ndarray, " g"],
    sizes: Int[np.ndarray, " g"],
    resamples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " resamples"]:
    # Clusters with equal sum and size are interchangeable, so drawing how often each *kind*
    # occurs is the same bootstrap, with a handful of columns in place of thousands.
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    chunk = max(1, _CHUNK // len(kinds))
    means = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        total = rng.multinomial(len(sums), counts / len(sums), size=size) @ kinds
        means.append(total[:, 0] / total[:, 1])
    return np.concatenate(means)


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
