"""Proportions, the exact McNemar test, and p values adjusted for a family of tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, binomtest

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import check_counts, check_level, paired_outcomes


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


def wilson(count: int, n: int, level: float = 0.95) -> Proportion:
    """Wilson score interval of a proportion (Wilson 1927), without continuity correction.

    It holds its level at small n and near 0 and 1, where the usual +-1.96 se does not.

    Raises:
        LanternError: not 0 <= count <= n, or a level outside (0, 1).
    """
    check_level(level)
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
    `accuracy_difference` and the clustered `sign_flip_test` too.

    Raises:
        LanternError: a count is negative.
    """
    check_counts(b, c)
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
        scaled = ascending * len(ascending) / np.arange(1, len(ascending) + 1)
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
