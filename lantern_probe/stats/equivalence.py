"""Equivalence of two paired accuracies: a test of the claim that nothing changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import (
    Clusters,
    check_counts,
    check_effect,
    check_rate,
    outcome_effect,
    paired_outcomes,
)
from lantern_probe.stats.score import interval_of_tail, paired_score, score_law


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests (TOST) that two paired accuracies differ by less than a margin.

    Attributes:
        n: Number of samples.
        b: Number of samples that only the first condition gets right.
        c: Number of samples that only the second condition gets right.
        margin: Smallest difference, in (0, 1), that would matter; to be chosen beforehand.
        estimate: (b - c) / n; NaN if n is 0.
        p_lower: p value against "the first is worse by the margin or more".
        p_upper: p value against "the first is better by the margin or more".
        p: p value of the claim of equivalence, the larger of the two.
        alpha: Level of each one-sided test, and of the claim.
        low: Lower end of the 1 - 2 alpha interval (90 % at alpha = .05).
        high: Upper end of that interval; the claim holds if the interval lies within +-margin.
        equivalent: True if p <= alpha.
        clusters: Number of independent units.
        design_effect: Factor by which repeated images inflate the variance; 1 without them.
    """

    n: int
    b: float
    c: float
    margin: float
    estimate: float
    p_lower: float
    p_upper: float
    p: float
    alpha: float
    low: float
    high: float
    equivalent: bool
    clusters: int
    design_effect: float


def accuracy_equivalence(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Clusters = None,
    *,
    margin: float,
    alpha: float = 0.05,
) -> Equivalence:
    """Test that two conditions are right equally often, up to a margin, on the same samples.

    Both one-sided tests are Tango's (1998) score test for the difference of paired proportions,
    and the interval is the set of differences that it does not reject, so test and interval agree
    and exist even without a discordant sample. There p is at least the exact (1 - margin)^n, and
    the interval at least the exact bound (`score_interval`). If images repeat, all counts are
    first divided by the design effect (`clusters.outcome_effect`), as Rao & Scott (1992) do. The t
    distribution with one degree of freedom less than clusters then replaces the normal one,
    because few clusters determine that effect poorly.

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].
        clusters: The image (or other unit) of each sample [n]; each sample its own if None.
        margin: Accuracies that differ by less are called equivalent; in (0, 1).
        alpha: Level of the claim.

    Raises:
        LanternError: lengths differ, a value is neither 0 nor 1, or an option is out of range.
    """
    one, two = paired_outcomes(first, second)
    effect, groups = outcome_effect(one - two, clusters)
    b, c = int((one > two).sum()), int((two > one).sum())
    return equivalence_of_counts(
        b, c, len(one), margin=margin, alpha=alpha, effect=effect, clusters=groups
    )


def equivalence_of_counts(
    b: float,
    c: float,
    n: float,
    *,
    margin: float,
    alpha: float = 0.05,
    effect: float = 1.0,
    clusters: int | None = None,
) -> Equivalence:
    """`accuracy_equivalence` from the discordant counts, for published tables.

    Args:
        b: Samples that only the first condition gets right.
        c: Samples that only the second gets right.
        n: All samples.
        margin: Accuracies that differ by less are called equivalent; in (0, 1).
        alpha: Level of the claim, in (0, 0.5); default 0.05.
        effect: Design effect, at least 1.
        clusters: Number of independent units; n by default.

    Raises:
        LanternError: the counts contradict each other, or an option is out of range.
    """
    check_counts(b, c, n)
    check_rate("the margin of equivalence", margin)
    if not 0 < alpha < 0.5:
        raise LanternError(f"alpha of an equivalence test lies between 0 and .5, not {alpha}")
    check_effect(effect)
    clusters = int(n) if clusters is None else clusters
    if not min(n, 1) <= clusters <= n:
        raise LanternError(f"{n} samples cannot come in {clusters} clusters")
    if n == 0:
        return Equivalence(
            0, 0, 0, margin, math.nan, 1.0, 1.0, 1.0, alpha, -1.0, 1.0, False, clusters, effect
        )
    shares, worth = (b / n, c / n), math.sqrt(n / effect)
    scale = score_law(n, clusters)
    p_lower = float(scale.sf(worth * paired_score(*shares, 1, -margin)))
    p_upper = float(scale.cdf(worth * paired_score(*shares, 1, margin)))
    if b == c == 0:  # the exact probability of that, if the margin were all one way
        exact = math.exp(math.log1p(-margin) * (n / effect))
        p_lower, p_upper = max(p_lower, exact), max(p_upper, exact)
    p = max(p_lower, p_upper)
    low, high = interval_of_tail(b, c, n, alpha, effect, clusters)
    estimate = (b - c) / n
    return Equivalence(
        int(n), b, c, margin, estimate, p_lower, p_upper, p, alpha, low, high, p <= alpha, clusters,
        effect,
    )  # fmt: skip
