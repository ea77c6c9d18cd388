"""Intervals of mean fractions: one number in [0, 1], or [-1, 1], for each independent unit.

A unit is a pair of a sample and its twin, whose two directions are averaged before anything is
counted: taken as two observations, intervals would be too narrow (docs/methods.md, The
conclusion). Such a mean varies at most as much as an outcome of 0 and 1 with the same expectation,
so that the intervals of counts hold for it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import beta

from lantern_probe.errors import LanternError
from lantern_probe.stats.bootstrap import Difference
from lantern_probe.stats.clusters import Clusters, check_level, outcome_effect
from lantern_probe.stats.score import interval_of_tail


def exact_share(count: float, n: float, tail: float) -> tuple[float, float]:
    """Interval of Clopper & Pearson (1934) for a count that need not be whole.

    Args:
        count: Sum of the fractions, between 0 and n.
        n: Number of units, or its equivalent where units repeat an image.
        tail: Probability beyond either end, at most 1/2.
    """
    low = float(beta.ppf(tail, count, n - count + 1)) if count > 0 else 0.0
    high = float(beta.isf(tail, count + 1, n - count)) if count < n else 1.0
    return low, high


def fraction_interval(
    gains: ArrayLike, losses: ArrayLike | None, clusters: Clusters = None, *, tail: float
) -> tuple[float, float, float]:
    """Mean of gains minus losses over units, with the ends of its interval.

    Of a share, which has gains only, it is the exact interval of Clopper & Pearson (1934). Of a
    difference it is Tango's (1998) score interval of b - c of n, with the sums of gains and losses
    for b and c; where there are no losses its upper end is the exact bound of the gains, which is
    narrower near 0, and its lower end lies below theirs, and the reverse without gains. If units
    repeat an image, n is divided by the design effect.

    Args:
        gains: Fraction in [0, 1] per unit [n].
        losses: Fraction in [0, 1] per unit [n]; the two sum to 1 at most. None for a share.
        clusters: Image of each unit [n]; None makes each its own cluster.
        tail: Probability beyond either end, in (0, 1/2).

    Returns:
        Mean (NaN without units), lower and upper end.

    Raises:
        LanternError: a fraction is out of range, or the tail is.
    """
    plus = _fractions(gains)
    minus = np.zeros_like(plus) if losses is None else _fractions(losses)
    if plus.shape != minus.shape or (plus + minus > 1 + 1e-9).any():
        raise LanternError("gains and losses are one fraction a unit each, together at most 1")
    check_level(1 - 2 * tail)
    n = len(plus)
    if n == 0:
        return float("nan"), 0.0 if losses is None else -1.0, 1.0
    effect, groups = outcome_effect(plus - minus, clusters)
    b, c = float(plus.sum()), float(minus.sum())
    low, high = mean_interval(b, c, n, effect, tail, clusters=groups, share=losses is None)
    mean = (b - c) / n
    return mean, min(low, mean), max(high, mean)


def fraction_mean(
    values: ArrayLike, clusters: Clusters = None, *, level: float = 0.95
) -> Difference:
    """Mean of fractions with the interval of `fraction_interval`, also where all are equal.

    Args:
        values: Fraction in [0, 1] per unit [n].
        clusters: Image of each unit [n]; None makes each its own cluster.
        level: Nominal coverage, default 0.95.

    Raises:
        LanternError: a value is out of range, or the level is.
    """
    found = _fractions(values)
    mean, low, high = fraction_interval(found, None, clusters, tail=(1 - level) / 2)
    effect, groups = outcome_effect(found, clusters) if len(found) else (1.0, 0)
    return Difference(len(found), groups, mean, low, high, level, "exact share", 0, 0, None, effect)


def mean_interval(
    gain: float,
    loss: float,
    n: float,
    effect: float,
    tail: float,
    *,
    clusters: int | None = None,
    share: bool = False,
) -> tuple[float, float]:
    """Ends of the interval of a mean fraction, from sums.

    Args:
        gain: Sum of the gains.
        loss: Sum of the losses; 0 for a share.
        n: Number of units; need not be whole.
        effect: Design effect of repeated images, at least 1.
        tail: Probability beyond either end.
        clusters: Number of independent units; n by default.
        share: True for a share, whose interval is that of Clopper & Pearson; False (default) for a
            difference, as in `fraction_interval`.
    """
    shrunk = n / effect
    if share:
        return exact_share(gain / effect, shrunk, tail)
    low, high = interval_of_tail(gain, loss, n, tail, effect, clusters)
    # A mean difference is at most the mean gain, so that the exact bound of the gains, narrower
    # than Tango's near 0, is an upper bound whatever the losses are; and the reverse.
    if loss == 0:
        below, above = exact_share(gain / effect, shrunk, tail)
        return (min(low, below) if gain else -above), above
    if gain == 0:
        below, above = exact_share(loss / effect, shrunk, tail)
        return -above, max(high, -below)
    return low, high


def _fractions(values: ArrayLike) -> Float[np.ndarray, " n"]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not ((found >= 0) & (found <= 1)).all():
        raise LanternError("fractions lie in [0, 1], one for each unit")
    return found
