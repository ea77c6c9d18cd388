"""Statistics of paired comparisons: the same samples, answered under two conditions.

Results are small frozen dataclasses that say what was counted, the interval and how it was made.
Probabilities and shares are in [0, 1]; an interval over no data is the whole range, not an error,
so that a table with an empty cell can still be printed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, binomtest, norm

from lantern_probe.errors import LanternError

_CHUNK = 4_000_000
"""Entries of a resampling matrix held at once: 32 MB of counts."""


@dataclass(frozen=True)
class Proportion:
    """A share of samples with its Wilson score interval.

    Attributes:
        count: How many samples have the property.
        n: Out of how many.
        estimate: count / n; NaN when n is 0.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Nominal coverage.
    """

    count: int
    n: int
    estimate: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class McNemar:
    """The exact test that two conditions are right equally often on the same samples.

    Attributes:
        b: Samples that only the first condition gets right.
        c: Samples that only the second gets right.
        p: Two-sided p value; conditional on b + c, under which b is binomial(b + c, 1/2).
    """

    b: int
    c: int
    p: float


@dataclass(frozen=True)
class Difference:
    """Accuracy of the first condition minus the second's, on the same samples.

    Attributes:
        n: Samples.
        clusters: Independent units resampled: images, or the samples themselves.
        estimate: Mean difference in [-1, 1]; NaN when n is 0.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Nominal coverage.
        method: `bca`, `percentile`, or `exact bound` where resampling cannot say anything
            (see `accuracy_difference`).
        resamples: Bootstrap resamples drawn.
        seed: Seed of their generator.
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


def wilson(count: int, n: int, level: float = 0.95) -> Proportion:
    """Wilson score interval of a proportion (Wilson 1927), without continuity correction.

    It holds its level at small n and near 0 and 1, where the usual +-1.96 se does not.

    Raises:
        LanternError: not 0 <= count <= n, or a level outside (0, 1).
    """
    _check_level(level)
    if not 0 <= count <= n:
        raise LanternError(f"a proportion needs 0 <= count <= n, not count={count}, n={n}")
    if n == 0:
        return Proportion(0, 0, math.nan, 0.0, 1.0, level)
    interval = binomtest(int(count), int(n)).proportion_ci(level, method="wilson")
    # Rounding must not push an end past the estimate at 0 and at 1.
    low = 0.0 if count == 0 else float(interval.low)
    high = 1.0 if count == n else float(interval.high)
    return Proportion(int(count), int(n), count / n, low, high, level)


def mcnemar(b: int, c: int) -> McNemar:
    """Exact two-sided McNemar test from the discordant counts; p = 1 when there are none.

    Samples are taken as independent: where images repeat, look at the clustered interval of
    `accuracy_difference` too.

    Raises:
        LanternError: a count is negative.
    """
    if b < 0 or c < 0:
        raise LanternError(f"discordant counts cannot be negative: b={b}, c={c}")
    # Under p = 1/2 the binomial is symmetric, so the two-sided p is twice one tail.
    p = min(1.0, 2.0 * float(binom.cdf(min(b, c), b + c, 0.5)))
    return McNemar(int(b), int(c), p)


def discordant(first: ArrayLike, second: ArrayLike) -> tuple[int, int]:
    """How many samples only the first condition gets right, and how many only the second.

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].

    Raises:
        LanternError: lengths differ, or a value is neither 0 nor 1.
    """
    one, two = _outcomes(first, second)
    return int((one > two).sum()), int((two > one).sum())


def accuracy_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[Hashable] | NDArray[Any] | None = None,
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
    clusters; `percentile` takes the plain quantiles.

    Where all clusters have the same mean difference (no discordant sample; one cluster), every
    resample is equal and its interval would have no width, which would claim certainty from, say,
    five samples. Reported instead is an `exact bound`: with g clusters alike, the share q of
    clusters that are unlike them is at most 1 - (alpha/2)^(1/g), and those may differ by up to 1
    in either direction.

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].
        clusters: The image (or other unit) of each sample [n]; each sample its own if None.
        level: Nominal coverage.
        resamples: Bootstrap resamples.
        seed: Of the generator; equal input and seed give equal ends.
        method: `bca` or `percentile`; the result says `percentile` where BCa is undefined.

    Raises:
        LanternError: lengths differ, a value is neither 0 nor 1, or an option is out of range.
    """
    _check_level(level)
    if method not in ("bca", "percentile"):
        raise LanternError(f"no bootstrap method {method!r}; choose 'bca' or 'percentile'")
    if resamples < 1:
        raise LanternError(f"the bootstrap needs at least 1 resample, not {resamples}")
    one, two = _outcomes(first, second)
    n = len(one)
    sums, sizes = _by_cluster(one - two, clusters)
    groups = len(sums)
    if n == 0:
        return Difference(0, 0, math.nan, -1.0, 1.0, level, "exact bound", 0, seed)
    estimate = float(sums.sum() / n)

    if np.all(sums * n == sizes * sums.sum()):
        q = 1 - ((1 - level) / 2) ** (1 / groups)
        low, high = estimate - q * (1 + estimate), estimate + q * (1 - estimate)
        return Difference(n, groups, estimate, low, high, level, "exact bound", 0, seed)

    draws = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        corrected = _bca_tails(tails, draws, estimate, sums, sizes)
        # Too skewed for the correction to have a meaning: say so in the result.
        method, tails = ("percentile", tails) if corrected is None else ("bca", corrected)
    low, high = np.quantile(draws, tails)
    return Difference(n, groups, estimate, float(low), float(high), level, method, resamples, seed)


def holm(pvalues: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down adjusted p values, in the order given.

    None and NaN (a test that was not done) come back as they are and do not count as members of
    the family.

    Raises:
        LanternError: a p value lies outside [0, 1].
    """
    tested = [i for i, p in enumerate(pvalues) if p is not None and not math.isnan(p)]
    family = np.array([pvalues[i] for i in tested], dtype=np.float64)
    if np.any((family < 0) | (family > 1)):
        raise LanternError(f"p values must lie in [0, 1]: {family.tolist()}")
    # statsmodels' multipletests gives the same, a tenth of a second later.
    order = np.argsort(family, kind="stable")
    stepped = np.maximum.accumulate(family[order] * np.arange(len(family), 0, -1))
    adjusted = list(pvalues)
    for place, p in zip(order, np.minimum(stepped, 1.0), strict=True):
        adjusted[tested[place]] = float(p)
    return adjusted


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise LanternError(f"the level of an interval lies between 0 and 1, not {level}")


def _outcomes(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    one, two = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != two.shape:
        raise LanternError(
            "paired outcomes need one value per sample under both conditions, not shapes "
            f"{list(one.shape)} and {list(two.shape)}"
        )
    for name, values in (("first", one), ("second", two)):
        bad = [value for value in values.tolist() if value not in (0, 1)]
        if bad:
            raise LanternError(f"the {name} outcomes must be 0 or 1, not {bad[0]!r}")
    return one.astype(np.int64), two.astype(np.int64)


def _by_cluster(
    values: NDArray[np.int64], clusters: Sequence[Hashable] | NDArray[Any] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum of the values and number of samples of each cluster, [g] and [g]."""
    if clusters is None:
        return values, np.ones_like(values)
    ids = clusters.tolist() if isinstance(clusters, np.ndarray) else list(clusters)
    if len(ids) != len(values):
        raise LanternError(f"{len(ids)} cluster ids for {len(values)} samples")
    if None in ids:
        raise LanternError(
            f"sample {ids.index(None)} (counted from 0) has no cluster id; give every sample one"
        )
    index = {name: i for i, name in enumerate(dict.fromkeys(ids))}
    place = np.fromiter((index[name] for name in ids), np.int64, len(ids))
    sums, sizes = np.zeros(len(index), np.int64), np.zeros(len(index), np.int64)
    np.add.at(sums, place, values)
    np.add.at(sizes, place, 1)
    return sums, sizes


def _resampled_means(
    sums: NDArray[np.int64], sizes: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
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


def _bca_tails(
    tails: NDArray[np.float64],
    draws: NDArray[np.float64],
    estimate: float,
    sums: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> NDArray[np.float64] | None:
    """The quantiles at which BCa reads the bootstrap distribution; None where undefined."""
    # The statistic is discrete: resamples equal to the estimate count half.
    below = (np.mean(draws < estimate) + np.mean(draws <= estimate)) / 2
    bias = norm.ppf(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    gap = left_out.mean() - left_out
    acceleration = (gap**3).sum() / (6 * (gap**2).sum() ** 1.5)
    z = bias + norm.ppf(tails)
    scale = 1 - acceleration * z
    if np.any(scale <= 0):
        return None
    corrected: NDArray[np.float64] = norm.cdf(bias + z / scale)
    return corrected
