"""Planning and reading nulls: the power of the exact McNemar test, n, and what can be seen.

Power here is *unconditional*: it averages over the number of discordant samples, which is binomial
and unknown when an experiment is planned. It is enumerated, not approximated, except for the tails
of that number, of probability 1e-12 each. If more than 65,536 numbers are left, which takes some
ten million discordant samples, equally spaced ones represent them. Beyond 10^8 the normal
distribution replaces the binomial one. Power is then exact to 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import brentq
from scipy.stats import binom, norm, poisson

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import check_effect, check_rate
from lantern_probe.stats.paired import at_most, two_sided
from lantern_probe.stats.ties import TIE

_TAIL = 1e-12
_MOST = 10_000_000
"""Number of samples beyond which `required_n` gives up."""

MOST_SAMPLES = 10**12
"""Largest number of samples for which power is computed."""

_SIZES = 65_536
"""Largest number of discordant counts that are enumerated."""

_RARE = 2.0**-60
"""Discordance below which the binomial number of discordant samples is Poisson to the last bit.
scipy's binomial fails for the smallest probabilities."""

_SMALLEST = 5e-324
"""The smallest float: half of it would be 0."""


@dataclass(frozen=True)
class Detectable:
    """Smallest accuracy difference that a test would have been likely to detect.

    Attributes:
        difference: Absolute difference in [0, 1].
        discordance: Fraction of discordant samples that it was computed for: the one asked for, or
            the difference itself if that is larger (all discordant samples then agree).
        n: Number of independent samples: all, divided by the design effect.
        alpha: Level of the exact McNemar test, that of the family divided by its size.
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
        n: Number of samples, taken as independent, at most 10^12. If images repeat, divide by the
            design effect.
        discordance: Probability that exactly one of the two conditions is right, in [0, 1].
        difference: Accuracy of one condition minus the other's; its sign does not matter. At 0
            power is the size of the test, which lies below alpha because the test is exact.
        alpha: Level of the test, in (0, 1).

    Raises:
        LanternError: n is out of range, or not |difference| <= discordance <= 1.
    """
    check_rate("alpha", alpha)
    _check_n(n)
    _check_rates(discordance, difference)
    return _power(n, discordance, abs(difference), alpha)


def required_n(
    difference: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Number of samples that the exact McNemar test needs.

    Power does not rise monotonically with n, because p values are discrete. The result is the n
    from which on the power stays reached, checked over the range in which it can fall back.

    Args:
        difference: Difference of the accuracies that is to be detected; not 0.
        discordance: Probability that exactly one of the two conditions is right; at least the
            difference. From earlier runs: (b + c) / n.
        alpha: Level of the test, in (0, 1).
        power: Probability to be reached, in (0, 1).

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
        return _power(n, discordance, effect, alpha) >= power * (1 - TIE)

    # Connor's (1987) normal approximation, so that the search starts near its end.
    spread = float(norm.isf(max(alpha / 2, _SMALLEST))) * math.sqrt(discordance)
    spread += float(norm.ppf(power)) * math.sqrt(max(discordance - effect**2, 0.0))
    root = min(max(spread, 0.0) / effect, math.sqrt(2.0 * _MOST))
    low, high = 0, max(8, int(root**2))
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
    n: int,
    discordance: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    family: int = 1,
    effect: float = 1.0,
) -> Detectable | None:
    """The minimum detectable effect of the exact McNemar test, at the discordance observed.

    A difference cannot exceed the fraction of discordant samples. If even a wholly one-sided
    discordance of the observed size would be missed, as with few discordant samples, the result is
    the smallest one-sided discordance that would be detected.

    In a family of tests a difference is shown if its p value is at most alpha after Holm. The first
    step of Holm asks for alpha / family, so that power at that level is power to show a difference
    whatever the other tests give.

        >>> one, ten = (detectable_difference(191, 0.1, family=size) for size in (1, 10))
        >>> round(one.difference, 3), round(ten.difference, 3), ten.alpha
        (0.065, 0.081, 0.005)

    Args:
        n: Number of samples, at most 10^12.
        discordance: Fraction of discordant samples, (b + c) / n, in [0, 1].
        alpha: Level of the family, in (0, 1).
        power: Probability of detecting the difference, in (0, 1).
        family: Number of tests among which p values are adjusted, default 1.
        effect: Design effect of repeated images, default 1; n is divided by it.

    Returns:
        The difference; None when n is too small to reach the power with any difference.

    Raises:
        LanternError: n or a rate is out of range.
    """
    check_rate("alpha", alpha)
    check_rate("power", power)
    _check_n(n)
    _check_rates(discordance, 0.0)
    check_effect(effect)
    if family < 1:
        raise LanternError(f"a family of tests has at least 1 member, not {family}")
    alpha /= family
    if effect > 1:
        n = math.floor(n / effect * (1 + TIE))

    def shortfall(difference: float) -> float:
        return _power(n, max(discordance, difference), difference, alpha) - power

    if shortfall(1.0) < 0:
        return None
    # At a difference of 0 the power is at most alpha; with alpha above it, everything is seen.
    guess = max(1 / n, (2 + max(0.0, float(norm.ppf(power)))) * math.sqrt(discordance / n))
    difference = 0.0 if shortfall(0.0) >= 0 else _root(shortfall, min(1.0, guess))
    step = 1e-10 * difference
    while shortfall(difference) < 0:  # the root may lie a rounding error too low
        difference, step = min(1.0, difference + step), 2 * step
    at = max(discordance, difference)
    return Detectable(difference, at, n, alpha, _power(n, at, difference, alpha))


def _root(shortfall: Callable[[float], float], high: float) -> float:
    """Root of the shortfall, which is negative at 0, to ten digits."""
    low = 0.0
    while shortfall(high) < 0:
        low, high = high, min(1.0, 2 * high)
    return float(brentq(shortfall, low, high, xtol=1e-24, rtol=1e-10, maxiter=1_000))


def _check_n(n: int) -> None:
    if not 0 <= n <= MOST_SAMPLES:
        what = "cannot be negative" if n < 0 else f"is at most {MOST_SAMPLES:,} here"
        raise LanternError(f"n {what}: {n}")


def _check_rates(discordance: float, difference: float) -> None:
    if not 0 <= discordance <= 1:
        raise LanternError(f"the discordance is a share between 0 and 1, not {discordance}")
    if abs(difference) > discordance * (1 + TIE):  # a sum of shares is rounded
        raise LanternError(
            f"accuracies cannot differ by {difference} when only a share of {discordance} of the "
            "samples is discordant"
        )


def _power(n: int, discordance: float, difference: float, alpha: float) -> float:
    if n == 0 or discordance == 0:
        return 0.0
    sizes, chances = _discordant(n, discordance)
    most = _critical(sizes.start, sizes.stop, sizes.step, alpha)
    share = min(1.0, (1 + difference / discordance) / 2)
    numbers = np.array(sizes)
    reject = at_most(most, numbers, share) + at_most(most, numbers, 1 - share)
    reject[most < 0] = 0.0
    return min(1.0, float(chances @ reject))


def _discordant(n: int, discordance: float) -> tuple[range, Float[np.ndarray, " sizes"]]:
    """Numbers of discordant samples, and the probability that each represents."""
    rare = discordance < _RARE
    law, of = (poisson, (n * discordance,)) if rare else (binom, (n, discordance))
    few, many = int(law.ppf(_TAIL, *of)), int(law.isf(_TAIL, *of))
    step = 1 + (many - few) // _SIZES
    sizes = range(few, many + 1, step)
    chances = law.pmf(np.array(sizes), *of)
    return sizes, chances / chances.sum()


@lru_cache(maxsize=4)  # a search for a difference asks again and again
def _critical(few: int, stop: int, step: int, alpha: float) -> Float[np.ndarray, " sizes"]:
    """The largest smaller count at which p <= alpha, for each number of discordant samples.

    It is -1 where there is none.
    """
    sizes = np.arange(few, stop, step)
    # -1 fits and one half does not; the normal distribution's guess is mostly next to the answer.
    low, high = np.full(len(sizes), -1.0), np.floor(sizes / 2) + 1
    away = float(norm.isf(max(alpha / 2, _SMALLEST))) * np.sqrt(sizes) / 2
    guess = np.floor(sizes / 2 - away)
    for count in (guess - 1, guess + 1):
        _narrow(sizes, low, high, np.clip(count, low, high), alpha)
    while (high - low > 1).any():
        _narrow(sizes, low, high, np.floor((low + high) / 2), alpha)
    return low


def _narrow(
    sizes: Int[np.ndarray, " sizes"],
    low: Float[np.ndarray, " sizes"],
    high: Float[np.ndarray, " sizes"],
    count: Float[np.ndarray, " sizes"],
    alpha: float,
) -> None:
    """Move one end of each bracket to a count between them: the lower if its p is <= alpha."""
    asked = np.flatnonzero((low < count) & (count < high))
    fits = two_sided(count[asked], sizes[asked]) <= alpha
    low[asked[fits]], high[asked[~fits]] = count[asked[fits]], count[asked[~fits]]
