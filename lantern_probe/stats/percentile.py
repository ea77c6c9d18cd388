"""Percentile intervals of resampled statistics: the one rule for all bootstraps."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Shaped

_WHOLE = 1e-9
"""A place this close to a whole number is that number."""


def percentile_interval(
    draws: Shaped[np.ndarray, " resamples"], level: float
) -> tuple[float, float]:
    """The interval that leaves out (1 - level) / 2 of the draws at either end.

    Args:
        draws: The statistic in every resample, at least one; infinite where it is, but no NaN.
        level: Nominal coverage.
    """
    return shares_interval(draws, (1 - level) / 2, (1 + level) / 2)


def shares_interval(
    draws: Shaped[np.ndarray, " resamples"], low: float, high: float
) -> tuple[float, float]:
    """The quantiles of the draws at two shares.

    A quantile is interpolated between two draws, and so moves by no more than the draws do: ties
    that rounding takes apart move it by a rounding error. Between a finite draw and an infinite
    one nothing can be interpolated, and the end is the outer of the two.

    Args:
        draws: As in `percentile_interval`.
        low: Share of the draws below the lower end, in [0, 1].
        high: Share of the draws below the upper end.
    """
    rising = np.sort(draws)
    return _quantile(rising, low, -1), _quantile(rising, high, 1)


def _quantile(rising: Shaped[np.ndarray, " resamples"], share: float, outward: int) -> float:
    place = share * (len(rising) - 1)
    # The share itself is rounded: it must not decide whether the next draw, which may be
    # infinite, has a part in the end.
    if abs(place - round(place)) <= _WHOLE:
        place = round(place)
    one, two = float(rising[math.floor(place)]), float(rising[math.ceil(place)])
    if one == two:
        return one
    if not math.isfinite(two - one):
        return one if outward < 0 else two
    return one + (place - math.floor(place)) * (two - one)
