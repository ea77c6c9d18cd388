"""Equivalence of two paired accuracies: a test of the claim that nothing changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm, t

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import (
    Clusters,
    check_counts,
    check_effect,
    check_rate,
    design_effect,
    paired_outcomes,
)


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
    b: int
    c: int
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
    and exist even without a discordant sample. If images repeat, all counts are first divided by
    the design effect (`clusters.design_effect`), as Rao & Scott (1992) do. The t distribution with
    one degree of freedom less than clusters then replaces the normal one, because few clusters
    determine that effect poorly.

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
    effect, groups = design_effect(one - two, clusters)
    b, c = int((one > two).sum()), int((two > one).sum())
    return equivalence_of_counts(
        b, c, len(one), margin=margin, alpha=alpha, effect=effect, clusters=groups
    )


def equivalence_of_counts(
    b: int,
    c: int,
    n: int,
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
    clusters = n if clusters is None else clusters
    if not min(n, 1) <= clusters <= n:
        raise LanternError(f"{n} samples cannot come in {clusters} clusters")
    if n == 0:
        return Equivalence(
            0, 0, 0, margin, math.nan, 1.0, 1.0, 1.0, alpha, -1.0, 1.0, False, clusters, effect
        )
    shares, worth = (b / n, c / n), math.sqrt(n / effect)
    scale = norm if clusters == n else t(max(clusters - 1, 1))
    p_lower = float(scale.sf(worth * paired_score(*shares, 1, -margin)))
    p_upper = float(scale.cdf(worth * paired_score(*shares, 1, margin)))
    p = max(p_lower, p_upper)
    quantile = -float(scale.ppf(alpha))
    # scipy loses the sign of a quantile of t that is too large for it.
    quantile = math.inf if quantile == -math.inf else max(quantile, 0.0)
    low, high = _score_interval(*shares, worth, quantile)
    estimate = (b - c) / n
    low, high = min(low, estimate), max(high, estimate)  # but for rounding they are
    return Equivalence(
        n, b, c, margin, estimate, p_lower, p_upper, p, alpha, low, high, p <= alpha, clusters,
        effect,
    )  # fmt: skip


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
