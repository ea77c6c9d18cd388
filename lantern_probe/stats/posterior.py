"""Posterior of the difference of two paired accuracies: a Bayesian reading of a null.

Each sample falls into one of four cells: right under both conditions, under the first only, under
the second only, under neither. A Dirichlet prior on the four probabilities gives a Dirichlet
posterior. The difference of the accuracies depends on two of them, p(first only) - p(second only).
Their sum is beta distributed, and the first's part of that sum is too, independent of it, so that
one integral over the sum gives the distribution of the difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import (
    Clusters,
    check_counts,
    check_effect,
    check_level,
    check_rate,
    outcome_effect,
    paired_outcomes,
)
from lantern_probe.stats.equivalence import Equivalence

JEFFREYS = 0.5
"""Prior count of each of the four cells: Jeffreys' prior of a multinomial distribution."""


def _tanh_sinh(
    step: float = 1 / 16, reach: float = 3.2
) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    """Nodes and weights on (0, 1), dense at both ends, where the integrand may be steep."""
    t = np.arange(-reach, reach + step / 2, step)
    slope = math.pi / 2 * np.cosh(t)
    weights = step * slope / (2 * np.cosh(math.pi / 2 * np.sinh(t)) ** 2)
    points = 1 / (1 + np.exp(-math.pi * np.sinh(t)))
    return points, weights / weights.sum()


_POINTS, _WEIGHTS = _tanh_sinh()


@dataclass(frozen=True)
class PosteriorDifference:
    """Posterior of the accuracy of the first condition minus that of the second.

    Attributes:
        b: Samples that only the first condition gets right.
        c: Samples that only the second gets right.
        n: All samples.
        prior: Prior count of each of the four cells.
        mean: Posterior mean of the difference.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Posterior probability of the interval; as much lies below it as above.
        margin: Margin, a fraction in (0, 1).
        within: Posterior probability that the difference lies within +-margin.
        positive: Posterior probability that the difference is above 0.
        prior_within: Prior probability that it lies within +-margin.
        design_effect: Factor by which the counts were divided; 1 without repeated images.
    """

    b: float
    c: float
    n: float
    prior: float
    mean: float
    low: float
    high: float
    level: float
    margin: float
    within: float
    positive: float
    prior_within: float
    design_effect: float


def posterior_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Clusters = None,
    *,
    margin: float,
    prior: float = JEFFREYS,
    level: float = 0.95,
) -> PosteriorDifference:
    """Posterior of the difference of two paired accuracies.

        >>> own, zeros = [1] * 60, [1] * 59 + [0]
        >>> found = posterior_difference(own, zeros, margin=0.05)
        >>> round(found.within, 3), round(found.low, 3), round(found.high, 3)
        (0.923, -0.025, 0.069)

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster. Where
            they repeat, all counts are divided by the design effect, as in `accuracy_equivalence`.
        margin: Margin, a fraction in (0, 1), to be chosen beforehand.
        prior: Prior count of each of the four cells, from 0.001 to 1000; default 0.5 (Jeffreys).
        level: Posterior probability of the interval, default 0.95.

    Raises:
        LanternError: lengths differ, a value is neither 0 nor 1, or an option is out of range.
    """
    one, two = paired_outcomes(first, second)
    effect, _ = outcome_effect(one - two, clusters)
    b, c = int((one > two).sum()), int((two > one).sum())
    return posterior_of_counts(
        b, c, len(one), margin=margin, prior=prior, level=level, effect=effect
    )


def posterior_of_counts(
    b: float,
    c: float,
    n: float,
    *,
    margin: float,
    prior: float = JEFFREYS,
    level: float = 0.95,
    effect: float = 1.0,
) -> PosteriorDifference:
    """`posterior_difference` from the discordant counts, for published tables.

    Args:
        b: Samples that only the first condition gets right.
        c: Samples that only the second gets right.
        n: All samples.
        margin: Margin, a fraction in (0, 1).
        prior: Prior count of each of the four cells, from 0.001 to 1000; default 0.5 (Jeffreys).
        level: Posterior probability of the interval, default 0.95.
        effect: Design effect of repeated images, at least 1; all counts are divided by it.

    Raises:
        LanternError: the counts contradict each other, or an option is out of range.
    """
    check_counts(b, c, n)
    check_rate("the margin", margin)
    check_level(level)
    check_effect(effect)
    check_prior(prior)
    law = DifferenceLaw(prior + b / effect, prior + c / effect, 2 * prior + (n - b - c) / effect)
    before = DifferenceLaw(prior, prior, 2 * prior)
    tail = (1 - level) / 2
    return PosteriorDifference(
        b=b,
        c=c,
        n=n,
        prior=prior,
        mean=law.mean,
        low=law.quantile(tail),
        high=law.quantile(1 - tail),
        level=level,
        margin=margin,
        within=law.within(margin),
        positive=1 - law.below(0.0),
        prior_within=before.within(margin),
        design_effect=effect,
    )


def posterior_of(same: Equivalence, prior: float = JEFFREYS) -> PosteriorDifference:
    """`posterior_difference` beside a test of equivalence, from its counts and its margin.

    Args:
        same: Result of the test; with a design effect below 1, as of several passes, its counts are
            worth more samples than there are.
        prior: Prior count of each of the four cells, from 0.001 to 1000; default 0.5 (Jeffreys).
    """
    worth = min(same.design_effect, 1.0)
    return posterior_of_counts(
        same.b / worth,
        same.c / worth,
        same.n / worth,
        margin=same.margin,
        prior=prior,
        effect=max(same.design_effect, 1.0),
    )


def check_prior(prior: float) -> None:
    """Refuse a prior count of a cell out of its range.

    Args:
        prior: Prior count of a cell.

    Raises:
        LanternError: it is none.
    """
    if not 1e-3 <= prior <= 1e3:
        raise LanternError(f"the prior count of a cell lies between 0.001 and 1000, not at {prior}")


class DifferenceLaw:
    """Distribution of x - y, where (x, y, rest) is Dirichlet distributed.

    Args:
        first: Parameter of x, above 0.
        second: Parameter of y, above 0.
        rest: Parameter of the rest, above 0.
    """

    def __init__(self, first: float, second: float, rest: float) -> None:
        self.first, self.second, self.rest = first, second, rest

    @property
    def mean(self) -> float:
        """Mean of the difference."""
        return (self.first - self.second) / (self.first + self.second + self.rest)

    def below(self, difference: float) -> float:
        """Probability that the difference is at most this.

        Args:
            difference: A number.
        """
        if difference == 0:
            return float(betainc(self.first, self.second, 0.5))
        if abs(difference) >= 1:
            return 1.0 if difference > 0 else 0.0
        # A sum below |difference| leaves no doubt. Beyond it, nodes are quantiles of the sum: no
        # peak is missed, however narrow, and no end where the density is infinite.
        total, rest = self.first + self.second, self.rest
        sure = float(betainc(total, rest, abs(difference)))
        unsure = 1.0 - sure
        sums = np.maximum(betaincinv(total, rest, sure + unsure * _POINTS), abs(difference))
        chances = betainc(self.first, self.second, np.clip((1 + difference / sums) / 2, 0.0, 1.0))
        found = unsure * float(_WEIGHTS @ chances) + (sure if difference > 0 else 0.0)
        return min(1.0, max(0.0, found))

    def within(self, margin: float) -> float:
        """Probability that the difference lies within +-margin.

        Args:
            margin: A number above 0.
        """
        return max(0.0, self.below(margin) - self.below(-margin))

    def quantile(self, chance: float) -> float:
        """Difference that is not exceeded with a probability.

        Args:
            chance: The probability, in (0, 1).
        """
        return float(brentq(lambda d: self.below(d) - chance, -1.0, 1.0, xtol=1e-15))
