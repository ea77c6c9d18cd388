"""Tango's score for the difference of two paired accuracies: statistic and interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm, t

from lantern_probe.stats.clusters import check_counts, check_effect, check_level


def paired_score(b: ArrayLike, c: ArrayLike, n: ArrayLike, difference: ArrayLike) -> Any:
    """Tango's (1998) score statistic of the hypothesis that the accuracies differ by `difference`.

    (b - c - n d) / sqrt(n (2 q + d (1 - d))), with q the maximum likelihood estimate, under that
    hypothesis, of the probability that only the second is right. Standard normal under the
    hypothesis, for large n. At d = 0 its square is McNemar's (b - c)^2 / (b + c).

    Args:
        b: Samples that only the first condition gets right; whole or scaled counts.
        c: Samples that only the second gets right.
        n: All samples.
        difference: d, strictly between -1 and 1. All four are broadcast.

    Returns:
        z, in the shape of the arguments; 0 at d = 0 where b = c = 0, and where n = 0.
    """
    one, two, n, d = (np.asarray(x, dtype=np.float64) for x in (b, c, n, difference))
    # The hypothesis that the second is better by -d is the same one: with d of 0 or more, nothing
    # below is a difference of nearly equal numbers.
    sign, d = np.where(d < 0, -1.0, 1.0), np.abs(d)
    size = np.where(n > 0, n, 1.0)
    b, c = np.where(sign < 0, two, one) / size, np.where(sign < 0, one, two) / size
    # q solves 2 q^2 + linear q - c d (1 - d) = 0.
    linear, product = (2 - b + c) * d - b - c, c * d * (1 - d)
    root = np.sqrt(linear**2 + 8 * product) + np.abs(linear)
    q = np.where(linear > 0, 2 * product / np.where(root > 0, root, 1.0), root / 4)
    variance = 2 * q + d * (1 - d)
    z = np.sqrt(n) * (b - c - d) / np.sqrt(np.where(variance > 0, variance, 1.0))
    return np.where(variance > 0, sign * z, 0.0)[()]


def score_interval(
    b: int,
    c: int,
    n: int,
    level: float = 0.95,
    *,
    effect: float = 1.0,
    clusters: int | None = None,
) -> tuple[float, float]:
    """Tango's (1998) score interval of the difference of two paired accuracies, (b - c) / n.

    It has the differences whose score statistic (`paired_score`) lies within the quantiles. If
    images repeat, the counts are divided by the design effect, and the quantiles are those of t
    with one degree of freedom less than clusters. Without a discordant sample each end is at least
    as far out as the exact bound 1 - ((1 - level) / 2)^(effect / n): the largest fraction of
    discordant samples, all one way, under which none is seen in n / effect with that probability.

    Args:
        b: Number of samples that only the first condition gets right.
        c: Number of samples that only the second condition gets right.
        n: Number of samples; the interval of none is [-1, 1].
        level: Nominal coverage, in (0, 1); default 0.95.
        effect: Design effect of repeated images (`design_effect`), at least 1.
        clusters: Number of independent units; n by default.

    Raises:
        LanternError: the counts contradict each other, or an option is out of range.
    """
    check_counts(b, c, n)
    check_level(level)
    check_effect(effect)
    if n == 0:
        return -1.0, 1.0
    return interval_of_tail(b, c, n, (1 - level) / 2, effect, clusters)


def interval_of_tail(
    b: float, c: float, n: float, tail: float, effect: float, clusters: int | None
) -> tuple[float, float]:
    """The interval of `score_interval` by the probability beyond either end.

    Counts need not be whole: those of pairs are sums over two directions, halved.
    """
    worth = math.sqrt(n / effect)
    low, high = _score_interval(b / n, c / n, worth, score_quantile(tail, n, clusters))
    if b == c == 0:
        bound = exact_bound(n / effect, tail)
        low, high = min(low, -bound), max(high, bound)
    estimate = (b - c) / n
    return min(low, estimate), max(high, estimate)  # but for rounding they are


def score_law(n: float, clusters: int | None) -> Any:
    """Distribution of the score: normal, or t with clusters - 1 degrees where samples repeat."""
    return norm if clusters in (None, n) else t(max(clusters - 1, 1))


def score_quantile(tail: float, n: float, clusters: int | None) -> float:
    """Quantile of the score that is exceeded with probability `tail`, at most 1/2."""
    quantile = -float(score_law(n, clusters).ppf(tail))
    # scipy loses the sign of a quantile of t that is too large for it.
    return math.inf if quantile == -math.inf else max(quantile, 0.0)


def exact_bound(n: float, tail: float) -> float:
    """Largest probability of an event that n independent trials miss with probability `tail`."""
    return -math.expm1(math.log(tail) / n)


def _score_interval(b: float, c: float, worth: float, z: float) -> tuple[float, float]:
    """The differences whose score statistic lies within +-z, from shares b and c of `worth`^2."""
    edge = math.nextafter(1.0, 0.0)

    def end(outer: float, target: float) -> float:
        def excess(d: float) -> float:
            return worth * float(paired_score(b, c, 1.0, d)) - target

        # The statistic falls with d, from plus to minus infinity; but where all samples are
        # discordant one way, a difference of 1 is never rejected, and the interval ends there.
        centre = max(-edge, min(edge, b - c))
        if target == 0:
            return b - c
        if math.isinf(target) or excess(outer) * target <= 0:
            return math.copysign(1.0, outer)
        if excess(centre) * target >= 0:
            return b - c
        return float(brentq(excess, centre, outer, xtol=1e-300, maxiter=2_000))

    return end(-edge, z), end(edge, -z)


def independent_difference(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float]:
    """Interval of the difference of two independent estimates, from the interval of each.

    For two proportions with their Wilson intervals it is Newcombe's (1998) hybrid score interval,
    his method 10. The distances to the limits of the two are added as squares (MOVER).

    Args:
        first: Estimate, lower end and upper end.
        second: The same of the estimate that is subtracted, at the same level.

    Examples:
        >>> from lantern_probe.stats.score import independent_difference
        >>> low, high = independent_difference((0.8, 0.68, 0.88), (0.6, 0.42, 0.76))
        >>> round(low, 3), round(high, 3)
        (0.0, 0.397)
    """
    (one, below, above), (other, under, over) = first, second
    middle = one - other
    low = middle - math.hypot(one - below, over - other)
    high = middle + math.hypot(above - one, other - under)
    return low, high
