"""Planning and reading nulls: the power of the exact McNemar test, n, and what can be seen.

Power here is *unconditional*: over the number of discordant samples too, which is binomial and
not known when an experiment is planned. Everything is enumerated, nothing approximated, but for
numbers of discordant samples that have less than 1e-12 of the probability in each tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import brentq
from scipy.stats import binom, norm

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import check_rate

_TAIL = 1e-12
_MOST = 10_000_000
"""Samples beyond which `required_n` gives up."""


@dataclass(frozen=True)
class Detectable:
    """The smallest accuracy difference that a test would have been likely to see.

    Attributes:
        difference: In [0, 1], in either direction.
        discordance: Share of discordant samples that it was computed at: the one asked for, or
            the difference itself where that is larger (all discordant samples then agree).
        n: Samples.
        alpha: Level of the exact McNemar test.
        power: Probability of p <= alpha at that difference.
    """

    difference: float
    discordance: float
    n: int
    alpha: float
    power: float


def mcnemar_power(n: int, discordance: float, difference: float, *, alpha: float = 0.05) -> float:
    """Probability that the exact two-sided McNemar test gives p <= alpha.

    Args:
        n: Samples, taken as independent; where images repeat, divide by the design effect.
        discordance: Probability that exactly one of the two conditions is right.
        difference: Of the accuracies; its sign does not matter. At 0 this is the size of the
            test, which lies below alpha because the test is exact.
        alpha: Level of the test.

    Raises:
        LanternError: n is negative, or not |difference| <= discordance <= 1.
    """
    check_rate("alpha", alpha)
    if n < 0:
        raise LanternError(f"n cannot be negative: {n}")
    _check_rates(discordance, difference)
    return _power(n, discordance, abs(difference), alpha)


def required_n(
    difference: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """How many samples the exact McNemar test needs.

    Power does not rise evenly with n, because p values are discrete; this is the n from which on
    it is reached and stays reached (over the stretch in which it can fall back).

    Args:
        difference: Of the accuracies, to be detected; not 0.
        discordance: Probability that exactly one of the two conditions is right; at least the
            difference. From earlier runs: (b + c) / n.
        alpha: Level of the test.
        power: Probability to be reached.

    Raises:
        LanternError: the difference is 0, the rates contradict each other, or more than ten
            million samples would be needed.
    """
    check_rate("alpha", alpha)
    check_rate("power", power)
    _check_rates(discordance, difference)
    if difference == 0:
        raise LanternError("no number of samples detects a difference of 0; give one that matters")
    effect = abs(difference)

    def enough(n: int) -> bool:
        return _power(n, discordance, effect, alpha) >= power

    # Connor's (1987) normal approximation, so that the search starts near its end.
    spread = norm.isf(alpha / 2) * math.sqrt(discordance)
    spread += norm.isf(1 - power) * math.sqrt(max(discordance - effect**2, 0.0))
    low, high = 0, max(8, int(min((spread / effect) ** 2, 2.0 * _MOST)))
    while high <= _MOST and not enough(high):
        low, high = high, 2 * high
    if high > _MOST:
        raise LanternError(
            f"a difference of {difference} at a discordance of {discordance} needs more than "
            f"{_MOST:,} samples"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    # Step over the teeth of the saw: the last n that falls short, and one more. With few
    # discordant samples among many, their random number smooths the teeth away.
    stretch = 20 + math.ceil(min(20 / discordance, 200))
    checked = high
    while checked < high + stretch:
        checked += 1
        if not enough(checked):
            high = checked + 1
    return high


def detectable_difference(
    n: int, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> Detectable | None:
    """The minimum detectable effect of the exact McNemar test, at the discordance observed.

    A difference cannot exceed the share of discordant samples. So where even a wholly one-sided
    discordance of the observed size would be missed, as with few discordant samples, the answer
    is the smallest one-sided discordance that would be seen.

    Args:
        n: Samples, taken as independent.
        discordance: Share of discordant samples, (b + c) / n.
        alpha: Level of the test.
        power: Probability of seeing it.

    Returns:
        The difference; None when n is too small to reach the power with any difference.

    Raises:
        LanternError: n is negative or a rate out of range.
    """
    check_rate("alpha", alpha)
    check_rate("power", power)
    if n < 0:
        raise LanternError(f"n cannot be negative: {n}")
    _check_rates(discordance, 0.0)

    def shortfall(difference: float) -> float:
        return _power(n, max(discordance, difference), difference, alpha) - power

    if shortfall(1.0) < 0:
        return None
    # At a difference of 0 the power is at most alpha; with alpha above it, everything is seen.
    difference = 0.0 if shortfall(0.0) >= 0 else float(brentq(shortfall, 0.0, 1.0, xtol=1e-9))
    while shortfall(difference) < 0:  # the root may lie a rounding error too low
        difference = min(1.0, difference + 1e-9)
    at = max(discordance, difference)
    return Detectable(difference, at, n, alpha, _power(n, at, difference, alpha))


def _check_rates(discordance: float, difference: float) -> None:
    if not 0 <= discordance <= 1:
        raise LanternError(f"the discordance is a share between 0 and 1, not {discordance}")
    if abs(difference) > discordance:
        raise LanternError(
            f"accuracies cannot differ by {difference} when only a share of {discordance} of the "
            "samples is discordant"
        )


def _power(n: int, discordance: float, difference: float, alpha: float) -> float:
    if n == 0 or discordance == 0:
        return 0.0
    few, many = binom.ppf(_TAIL, n, discordance), binom.isf(_TAIL, n, discordance)
    sizes = np.arange(int(few), int(many) + 1)
    most = _critical(sizes, alpha)
    share = min(1.0, (1 + difference / discordance) / 2)
    reject = binom.cdf(most, sizes, share) + binom.sf(sizes - most - 1, sizes, share)
    reject[most < 0] = 0.0
    return float(binom.pmf(sizes, n, discordance) @ reject)


def _critical(sizes: Int[np.ndarray, " d"], alpha: float) -> Float[np.ndarray, " d"]:
    """The largest smaller count at which p <= alpha, for each number of discordant samples; -1."""
    most = binom.ppf(alpha / 2, sizes, 0.5)
    return np.where(2 * binom.cdf(most, sizes, 0.5) <= alpha, most, most - 1)
