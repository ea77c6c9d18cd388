"""Proportions, the exact McNemar test, and p values adjusted for a family of tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, norm

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import (
    Clusters,
    check_counts,
    check_effect,
    check_level,
    outcome_effect,
    paired_outcomes,
)
from lantern_probe.stats.score import score_quantile

BINOMIAL_UP_TO = 10**8
"""Discordant samples up to which the test is exact. The normal distribution with a continuity
correction, which takes over then, differs by a millionth of p where p is 1e-6 or more."""


def _exact_tails() -> Float[np.ndarray, "sizes counts"]:
    """Row d: the probability of at most 0, 1, ... of d coin tosses, exact; last, of at most -1."""
    rows = [np.cumsum([math.comb(d, k) for k in range(54)]) / 2**d for d in range(54)]
    return np.concatenate([rows, np.zeros((54, 1))], axis=1)


_TAILS = _exact_tails()


@dataclass(frozen=True)
class Proportion:
    """A share of samples with its Wilson score interval.

    Attributes:
        count: Samples that have the property; over several passes, the sum of their shares.
        n: All samples.
        estimate: count / n; NaN when n is 0.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Nominal coverage.
    """

    count: float
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
        p: Two-sided p value; conditional on b + c, under which b is binomial(b + c, 1/2). It is 0
            where no float is as small.
    """

    b: int
    c: int
    p: float


def wilson(
    count: float,
    n: float,
    level: float = 0.95,
    *,
    effect: float = 1.0,
    clusters: int | None = None,
) -> Proportion:
    """Wilson score interval of a proportion (Wilson 1927), without continuity correction.

    It holds its level at small n and near 0 and 1, where the usual +-1.96 se does not.

    Args:
        count: Samples that have the property.
        n: All samples.
        level: Nominal coverage, in (0, 1).
        effect: Design effect of repeated images (`design_effect`), at least 1: the interval is
            that of n / effect independent samples.
        clusters: Number of independent units; n by default. If there are fewer, the quantile is
            that of t with one degree of freedom less than clusters.

    Raises:
        LanternError: not 0 <= count <= n, or an option is out of range.
    """
    check_level(level)
    check_effect(effect)
    if not 0 <= count <= n:
        raise LanternError(f"a proportion needs 0 <= count <= n, not count={count}, n={n}")
    if n == 0:
        return Proportion(0, 0, math.nan, 0.0, 1.0, level)
    share, spread = count / n, score_quantile((1 - level) / 2, n, clusters) ** 2 / n * effect
    low = _wilson_low(share, (n - count) / n, spread)
    high = 1 - _wilson_low((n - count) / n, share, spread)
    # Rounding must not push an end past the estimate.
    return Proportion(int(count), int(n), share, min(low, share), max(high, share), level)


def proportion(
    outcomes: ArrayLike, clusters: Clusters = None, *, level: float = 0.95
) -> Proportion:
    """Wilson interval of a fraction, with n divided by the design effect where images repeat.

    Args:
        outcomes: 1 or 0 (True, False) per sample [n].
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
        level: Nominal coverage, default 0.95.

    Raises:
        LanternError: a value is neither 0 nor 1, or the level is out of range.
    """
    values, _ = paired_outcomes(outcomes, outcomes)
    effect, groups = outcome_effect(values, clusters)
    return wilson(int(values.sum()), len(values), level, effect=effect, clusters=groups)


def _wilson_low(share: float, rest: float, spread: float) -> float:
    """The smaller root of (1 + s) x^2 - (2 p + s) x + p^2, from the larger one.

    That is exact near 0, where the usual formula is a difference of nearly equal numbers.
    """
    if share == 0 or math.isinf(spread):
        return 0.0
    larger = share + spread / 2 + math.sqrt(spread) * math.sqrt(share * rest + spread / 4)
    return share / larger * share


def mcnemar(b: int, c: int) -> McNemar:
    """Exact two-sided McNemar test from the discordant counts; p = 1 when there are none.

    Samples are taken as independent: where images repeat, its p is too small. `accuracy_test` is
    the same test without repeats, and flips whole images where they repeat.

    Raises:
        LanternError: a count is negative.
    """
    check_counts(b, c)
    b, c = int(b), int(c)
    if b + c <= BINOMIAL_UP_TO:
        return McNemar(b, c, float(two_sided(np.array([min(b, c)]), np.array([b + c]))[0]))
    try:
        away = max(abs(b - c) - 1, 0) ** 2 / (b + c)  # whole numbers of any size, up to here
    except OverflowError:
        away = math.inf
    return McNemar(b, c, min(1.0, 2.0 * float(norm.sf(math.sqrt(away)))))


def two_sided(
    smaller: Num[np.ndarray, " tests"], discordant: Num[np.ndarray, " tests"]
) -> Float[np.ndarray, " tests"]:
    """Two-sided p values of smaller counts among numbers of discordant samples.

    Up to 53 discordant samples every p value is a float, and comes out as that one: a p value that
    equals a level such as 1/32 is not larger than it.

    Args:
        smaller: The smaller of b and c; -1 gives 0.
        discordant: b + c, at most 10^15.
    """
    # Under p = 1/2 the binomial is symmetric, so the two-sided p is twice one tail.
    p = 2 * at_most(smaller, discordant, 0.5)
    few = discordant < len(_TAILS)
    p[few] = 2 * _TAILS[discordant[few].astype(int), smaller[few].astype(int)]
    p[2 * smaller + 1 >= discordant] = 1.0
    return np.minimum(p, 1.0)


def at_most(
    count: Num[np.ndarray, " sizes"], n: Num[np.ndarray, " sizes"], share: float
) -> Float[np.ndarray, " sizes"]:
    """Probability that at most `count` of n samples have a property that a share of all have.

    Args:
        count: Whole numbers from -1 to n.
        n: Samples; the binomial distribution up to `BINOMIAL_UP_TO`, the normal one beyond.
        share: Probability of the property, in [0, 1].
    """
    chance = np.empty(len(n))
    exact = n <= BINOMIAL_UP_TO
    chance[exact] = binom.cdf(count[exact], n[exact], share)
    large = n[~exact].astype(float)
    spread = np.maximum(np.sqrt(large * share * (1 - share)), 1e-9)
    chance[~exact] = norm.cdf((count[~exact] + 0.5 - large * share) / spread)
    return chance


def discordant(first: ArrayLike, second: ArrayLike) -> tuple[int, int]:
    """Numbers of samples that only the first condition, and only the second, gets right.

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].

    Raises:
        LanternError: lengths differ, or a value is neither 0 nor 1.
    """
    one, two = paired_outcomes(first, second)
    return int((one > two).sum()), int((two > one).sum())


def holm(pvalues: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down adjusted p values, in the order given.

    They bound the chance of *any* false rejection in the family, however the tests depend on each
    other. None and NaN (a test that was not done) come back as they are and do not count as
    members of the family.

    Raises:
        LanternError: a p value lies outside [0, 1].
    """

    # statsmodels' multipletests gives the same, a tenth of a second later.
    def step_down(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum.accumulate(ascending * np.arange(len(ascending), 0, -1))

    return _adjusted(pvalues, step_down)


def benjamini_hochberg(pvalues: Sequence[float | None]) -> list[float | None]:
    """Benjamini & Hochberg's (1995) step-up adjusted p values, in the order given.

    They bound the expected *share* of false ones among the rejections, for independent or
    positively dependent tests: for long exploratory lists (layers x slots), not for the claim of
    a paper, which `holm` is for. None and NaN are treated as in `holm`.

    Raises:
        LanternError: a p value lies outside [0, 1].
    """

    def step_up(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = ascending * (len(ascending) / np.arange(1, len(ascending) + 1))
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _adjusted(pvalues, step_up)


def _adjusted(
    pvalues: Sequence[float | None],
    adjust: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> list[float | None]:
    tested = [i for i, p in enumerate(pvalues) if p is not None and not math.isnan(p)]
    family = np.array([pvalues[i] for i in tested], dtype=np.float64)
    if np.any((family < 0) | (family > 1)):
        raise LanternError(f"p values must lie in [0, 1]: {family.tolist()}")
    order = np.argsort(family, kind="stable")
    adjusted = list(pvalues)
    for place, p in zip(order, np.minimum(adjust(family[order]), 1.0), strict=True):
        adjusted[tested[place]] = float(p)
    return adjusted
