"""Variance of a mean over samples and seeds: both are drawn, and every sample meets every seed.

The layout is that of readers and cases in diagnostic radiology (Obuchowski & Rockette 1995): seeds
are readers, images are cases. A seed's draw may shift all samples together, such as one shuffle of
labels for an eraser. Such a shift is the same however many samples there are, so that the spread
over samples says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.stats import t

from lantern_probe.errors import LanternError
from lantern_probe.stats.bootstrap import Difference
from lantern_probe.stats.clusters import Clusters, check_level

TWO_WAY = "two-way t"
"""Name of the interval of `two_way_mean`, as `Difference.method` has it."""


@dataclass(frozen=True)
class TwoWay:
    """Parts of the variance of a mean over samples and seeds.

    Attributes:
        samples: Variance between clusters of samples, of the mean over these seeds.
        seeds: Variance between the seeds' means, of the mean over these samples.
        both: Variance of what is left of a cluster under a seed; it is part of both of the above.
        clusters: Number of clusters.
        count: Number of seeds.
    """

    samples: float
    seeds: float
    both: float
    clusters: int
    count: int

    @property
    def added(self) -> float:
        """Variance that seeds add to that between samples; never below 0."""
        return max(0.0, self.seeds - self.both)

    @property
    def variance(self) -> float:
        """Variance of the mean, were samples and seeds drawn anew."""
        return self.samples + self.added

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance (Satterthwaite, as Hillis 2007 has it for readers).

        Those between seeds are few, and count for as much as they make up of the whole.
        """
        return satterthwaite(self.samples, self.seeds, self.variance, self.clusters, self.count)


def satterthwaite(samples: float, seeds: float, whole: float, clusters: int, count: int) -> float:
    """Degrees of freedom of a variance from clusters and from seeds.

    Args:
        samples: Variance between clusters.
        seeds: Variance between seeds.
        whole: Variance of the mean.
        clusters: Number of clusters.
        count: Number of seeds.
    """
    rest = max(0.0, whole - seeds)
    parts = seeds**2 / max(count - 1, 1) + rest**2 / max(clusters - 1, 1)
    return max(clusters - 1.0, 1.0) if parts == 0 else max(whole**2 / parts, 1.0)


def two_way(
    values: Float[np.ndarray, " m"],
    sample: Int[np.ndarray, " m"],
    group: Int[np.ndarray, " m"],
    seed: Int[np.ndarray, " m"],
) -> TwoWay:
    """Take the variance of a mean apart; every sample counts once, however many values it has.

    Args:
        values: A number for each sample and seed [m].
        sample: Index of each value's sample, from 0 [m].
        group: Index of each value's cluster, from 0 [m].
        seed: Index of each value's seed, from 0 [m].
    """
    weights = 1 / np.bincount(sample)[sample]
    n, groups, count = float(weights.sum()), int(group.max()) + 1, int(seed.max()) + 1
    mean = float((weights * values).sum()) / n
    within = values - np.bincount(sample, weights * values)[sample]
    shift = np.bincount(seed, weights * within) / np.bincount(seed, weights)
    left = within - shift[seed]
    cells = np.bincount(group * count + seed, weights * left)
    of_groups, of_seeds = _correction(groups), _correction(count)
    by_group = np.bincount(group, weights * (values - mean))
    by_seed = np.bincount(seed, weights) * shift
    return TwoWay(
        samples=of_groups * float((by_group**2).sum()) / n**2,
        seeds=of_seeds * float((by_seed**2).sum()) / n**2,
        both=of_groups * of_seeds * float((cells**2).sum()) / n**2,
        clusters=groups,
        count=count,
    )


def _correction(count: int) -> float:
    return count / (count - 1) if count > 1 else 1.0


def indices(names: Sequence[Hashable]) -> Int[np.ndarray, " m"]:
    """Index of each name among the different ones, in the order in which they come.

    Args:
        names: Names, which may repeat [m].
    """
    index = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([index[name] for name in names], dtype=np.int64)


@dataclass(frozen=True)
class TwoWayTest:
    """Test that a mean over samples and seeds is 0.

    Attributes:
        clusters: Number of clusters of samples.
        seeds: Number of seeds.
        freedom: Degrees of freedom of t.
        p: Two-sided p value.
        method: Name of the test, `two-way t`.
    """

    clusters: int
    seeds: int
    freedom: float
    p: float
    method: str = TWO_WAY


@dataclass(frozen=True)
class TwoWayMean:
    """Mean of a measure over samples and seeds, with its interval and test.

    Attributes:
        difference: The mean with its t interval.
        test: Test that the mean is 0, of the same t.
    """

    difference: Difference
    test: TwoWayTest


def two_way_mean(
    values: ArrayLike,
    samples: Sequence[Hashable],
    seeds: Sequence[Hashable],
    clusters: Clusters = None,
    *,
    level: float = 0.95,
) -> TwoWayMean:
    """Mean over samples and seeds, for claims about other samples *and* other seeds.

    The variance is that between samples plus what seeds add to it, and t has Satterthwaite's
    degrees of freedom (`TwoWay`). With 2 seeds intervals are wide; 5 are a good number.

        >>> found = two_way_mean([1, 2, 3, 1, 2, 4], "aabbcc", [0, 1] * 3)
        >>> round(found.difference.estimate, 3)
        2.167

    Args:
        values: A finite number for each sample and seed [m].
        samples: Sample of each value [m].
        seeds: Seed of each value [m].
        clusters: Image (or other unit) of each value [m]; None makes each sample its own.
        level: Nominal coverage, default 0.95.

    Raises:
        LanternError: there is no value, lengths differ, a value is not finite, there is one seed
            only, or the level is out of range.
    """
    check_level(level)
    numbers = np.asarray(values, dtype=np.float64)
    groups = samples if clusters is None else list(clusters)
    if numbers.ndim != 1 or not len(numbers) == len(samples) == len(seeds) == len(groups):
        raise LanternError("a two-way mean needs one sample, seed and cluster for each value")
    if not np.isfinite(numbers).all():
        raise LanternError("a two-way mean needs finite values")
    if len(set(seeds)) < 2:
        raise LanternError("a two-way mean needs values of at least 2 seeds")
    index = indices(list(samples))
    parts = two_way(numbers, index, indices(list(groups)), indices(list(seeds)))
    n = int(index.max()) + 1
    estimate = float((np.bincount(index, numbers) / np.bincount(index)).mean())
    error, law = math.sqrt(parts.variance), t(parts.freedom)
    half = float(law.ppf((1 + level) / 2)) * error
    p = 2 * float(law.sf(abs(estimate) / error)) if error > 0 else float(estimate == 0)
    low, high = estimate - half, estimate + half
    found = Difference(n, parts.clusters, estimate, low, high, level, TWO_WAY, 0, 0)
    return TwoWayMean(found, TwoWayTest(parts.clusters, parts.count, parts.freedom, p))
