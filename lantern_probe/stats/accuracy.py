"""Two accuracies on the same samples: the interval of their difference, the test, and a fraction.

All three know that samples of one image are not independent. The interval is of the same family as
the equivalence test (`equivalence`), and it contains 0 unless the test rejects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats.bootstrap import BOOTSTRAPS, Difference, bootstrap_outcomes
from lantern_probe.stats.clusters import Clusters, check_level, outcome_effect, paired_outcomes
from lantern_probe.stats.paired import mcnemar, proportion
from lantern_probe.stats.permutation import sign_flip_test
from lantern_probe.stats.score import exact_bound, interval_of_tail

TANGO, EXACT_BOUND, WILSON = "tango", "exact bound", "wilson"
"""Names of intervals, as `Difference.method` has them."""


@dataclass(frozen=True)
class PairedTest:
    """Test that two conditions are right equally often on the same samples.

    Attributes:
        n: Number of samples.
        clusters: Number of independent units.
        b: Number of samples that only the first condition gets right.
        c: Number of samples that only the second condition gets right.
        p: Two-sided p value.
        method: `exact McNemar` if every sample is its own cluster; else `clustered sign flip`,
            with `, drawn` where there are too many discordant samples for the exact one.
    """

    n: int
    clusters: int
    b: int
    c: int
    p: float
    method: str


def accuracy_test(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Clusters = None,
    *,
    resamples: int = 9_999,
    seed: int = 0,
) -> PairedTest:
    """Test that two conditions are right equally often: exact, and by image where images repeat.

    Without repeats it is McNemar's exact test. With them the signs of an image's differences flip
    together (`sign_flip_test`): 20 discordant samples of 5 images, all one way, are 5 observations,
    p = 2 / 2^5. One discordant sample per image gives McNemar's p.

        >>> accuracy_test([1] * 20, [0] * 20, [i // 4 for i in range(20)]).p
        0.0625

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
        resamples: Number of sign patterns drawn if the clustered test is not exact, default 9,999.
        seed: Seed of the generator of sign patterns, default 0.

    Raises:
        LanternError: lengths differ, or a value is neither 0 nor 1.
    """
    one, two = paired_outcomes(first, second)
    return _test(one - two, clusters, resamples, seed)


def _test(
    differences: Int[np.ndarray, " n"], clusters: Clusters, resamples: int = 9_999, seed: int = 0
) -> PairedTest:
    b, c = int((differences > 0).sum()), int((differences < 0).sum())
    n = len(differences)
    flips = sign_flip_test(differences, clusters, resamples=resamples, seed=seed)
    if flips.clusters == n:
        return PairedTest(n, n, b, c, mcnemar(b, c).p, "exact McNemar")
    method = "clustered sign flip" + (", drawn" if flips.method != "exact" else "")
    return PairedTest(n, flips.clusters, b, c, flips.p, method)


def accuracy_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    method: str = TANGO,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Interval of the accuracy difference of two conditions, paired by sample.

    `tango` is Tango's (1998) score interval (`score_interval`), of the family of
    `accuracy_equivalence`. If images repeat, n is divided by the design effect, and t replaces the
    normal distribution. At a difference of 0 the score is McNemar's statistic without continuity
    correction, which rejects more often than the exact test: 5:0 has z = 2.24 and p = .0625. The
    interval is therefore extended to 0 where `accuracy_test` does not reject at 1 - level, so that
    interval and test do not contradict each other.

    Without a discordant sample the result is an `exact bound`: the difference is at most that
    large in either direction (`score_interval` has the formula).

        >>> found = accuracy_difference([1] * 256, [1] * 256)
        >>> found.discordant, round(found.high, 3)
        (0, 0.015)

    `bca` and `percentile` resample whole clusters instead (`bootstrap_outcomes`). They cover too
    rarely where few samples are discordant.

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
        level: Nominal coverage, default 0.95.
        method: `tango` (default), `bca` or `percentile`; the result says `percentile` where BCa is
            undefined.
        resamples: Number of bootstrap resamples, default 10,000; not used by `tango`.
        seed: Seed of the bootstrap's generator, default 0; not used by `tango`.

    Raises:
        LanternError: lengths differ, a value is neither 0 nor 1, or an option is out of range.
    """
    one, two = paired_outcomes(first, second)
    return outcome_difference(
        one - two, clusters, level=level, method=method, resamples=resamples, seed=seed
    )


def outcome_difference(
    differences: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    method: str = TANGO,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Interval of `accuracy_difference` from the differences -1, 0 and 1 of each sample [n].

    Raises:
        LanternError: a value is none of these, or an option is out of range.
    """
    values = np.asarray(differences)
    if values.ndim != 1 or not np.isin(values, (-1, 0, 1)).all():
        raise LanternError("differences of outcomes are -1, 0 or 1, one per sample")
    values = values.astype(np.int64)
    _check(level, resamples, method, TANGO)
    effect, groups = outcome_effect(values, clusters)
    n, b, c = len(values), int((values > 0).sum()), int((values < 0).sum())
    if method != TANGO:
        found = bootstrap_outcomes(
            values, clusters, level=level, resamples=resamples, seed=seed, method=method
        )
        return replace(found, discordant=b + c, design_effect=effect)
    name = TANGO if b + c else EXACT_BOUND
    if n == 0:
        return Difference(0, 0, math.nan, -1.0, 1.0, level, name, 0, seed, 0)
    low, high = interval_of_tail(b, c, n, (1 - level) / 2, effect, groups)
    if (low > 0 or high < 0) and _test(values, clusters, seed=seed).p > 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(n, groups, (b - c) / n, low, high, level, name, 0, seed, b + c, effect)


def _check(level: float, resamples: int, method: str, own: str) -> None:
    check_level(level)
    if method not in (own, *BOOTSTRAPS):
        raise LanternError(f"no interval method {method!r}; choose {own!r}, 'bca' or 'percentile'")
    if resamples < 1:
        raise LanternError(f"the bootstrap needs at least 1 resample, not {resamples}")


def clustered_share(
    outcomes: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    method: str = WILSON,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Interval of a fraction whose samples come in clusters, such as pairs.

    `wilson` is the score interval, with n divided by the design effect and t in place of the
    normal distribution where clusters repeat. If all outcomes are equal, it is an `exact bound`:
    at least as wide as 1 - ((1 - level) / 2)^(effect / n). `bca` and `percentile` resample whole
    clusters.

    Args:
        outcomes: 1 or 0 (True, False) per sample [n].
        clusters: As in `accuracy_difference`.
        level: Nominal coverage, default 0.95.
        method: `wilson` (default), `bca` or `percentile`.
        resamples: Number of bootstrap resamples, default 10,000; not used by `wilson`.
        seed: Seed of the bootstrap's generator, default 0; not used by `wilson`.

    Raises:
        LanternError: as for `accuracy_difference`.
    """
    values, _ = paired_outcomes(outcomes, outcomes)
    _check(level, resamples, method, WILSON)
    effect, groups = outcome_effect(values, clusters)
    found = proportion(values, clusters, level=level)
    n, mean, low, high = len(values), found.estimate, found.low, found.high
    if n == 0:
        return Difference(0, 0, mean, low, high, level, EXACT_BOUND, 0, seed)
    if mean in (0, 1):
        bound = exact_bound(n / effect, (1 - level) / 2)
        low, high = min(low, mean * (1 - bound)), max(high, mean + bound * (1 - mean))
        return Difference(n, groups, mean, low, high, level, EXACT_BOUND, 0, seed, None, effect)
    if method != WILSON:
        drawn = bootstrap_outcomes(
            values, clusters, level=level, resamples=resamples, seed=seed, method=method
        )
        return replace(
            drawn, low=max(0.0, drawn.low), high=min(1.0, drawn.high), design_effect=effect
        )
    return Difference(n, groups, mean, low, high, level, WILSON, 0, seed, None, effect)
