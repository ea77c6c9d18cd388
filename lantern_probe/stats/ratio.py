"""The ratio of two mean paired differences: a gain that is kept, an effect that is mediated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import t as student

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import Clusters, by_cluster, check_level, paired_differences
from lantern_probe.stats.ties import rescaled, settled, unit_scaled

FEWEST = 5
"""Smallest number of clusters for which a ratio is reported."""

FEWEST_ERRORS = math.sqrt(10)
"""Standard errors that the denominator must lie from 0 for a ratio to be reported: F > 10.

The rule is that for weak instruments (Staiger & Stock 1997), whose estimate is a ratio as well. At
exactly two standard errors, a ratio whose denominator is 0 would be reported in one run of twenty.
"""


@dataclass(frozen=True)
class Ratio:
    """Mean of one difference over the mean of another, on the same samples.

    Attributes:
        n: Number of samples.
        clusters: Number of independent units.
        estimate: Ratio; NaN if it is not defined, infinite if no float is that large.
        low: Lower end of the ratio's interval by Fieller; minus infinity if not defined.
        high: Upper end of the ratio's interval by Fieller; infinity if not defined.
        level: Nominal coverage of both intervals.
        part: Mean of the numerator.
        whole: Mean of the denominator.
        whole_low: Lower end of the denominator's t interval.
        whole_high: Upper end of the denominator's t interval.
        errors: Distance of the denominator from 0, in its standard errors.
        defined: True if the denominator is more than `FEWEST_ERRORS` standard errors from 0, the
            interval is bounded, and there are at least `FEWEST` clusters. A ratio whose denominator
            may be zero is unbounded, and is not reported.
        method: Name of the interval.
    """

    n: int
    clusters: int
    estimate: float
    low: float
    high: float
    level: float
    part: float
    whole: float
    whole_low: float
    whole_high: float
    errors: float
    defined: bool
    method: str = "Fieller"

    def withheld(self) -> Ratio:
        """The same ratio as not defined, where a test beside it leaves 0 for the denominator."""
        return replace(self, defined=False, estimate=math.nan, low=-math.inf, high=math.inf)

    @property
    def reason(self) -> str:
        """The reason why the ratio is not reported, in words; empty if it is."""
        if self.defined:
            return ""
        if self.clusters < FEWEST:
            return f"not given: {self.clusters} independent samples, fewer than {FEWEST}"
        if self.errors > FEWEST_ERRORS:
            return "not given: its denominator may be 0 by the test reported beside it"
        return (
            f"not given: its denominator is {self.errors:.1f} standard errors from 0 "
            f"(it takes {FEWEST_ERRORS:.1f})"
        )


def ratio_of_means(
    part: ArrayLike,
    whole: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
) -> Ratio:
    """Ratio of two means with Fieller's interval (Fieller 1954), by clusters.

    The interval holds every ratio r for which the mean of part - r x whole does not differ from 0,
    by t with clusters - 1 degrees of freedom. A sum whose terms cancel up to rounding is 0.

    Args:
        part: Numerator per sample [n], in the unit of `whole`; finite.
        whole: Denominator per sample [n]; finite.
        clusters: The image (or other unit) of each sample [n]; each sample its own if None.
        level: Nominal coverage of the ratio's and of the denominator's interval, default 0.95.

    Raises:
        LanternError: lengths differ, a value is not finite, or the level is out of range.
    """
    check_level(level)
    top, above = unit_scaled(paired_differences(part))
    bottom, below = unit_scaled(paired_differences(whole))
    if len(top) != len(bottom):
        raise LanternError(f"{len(top)} numerators for {len(bottom)} denominators")
    n = len(top)
    ends = (-math.inf, math.inf)
    if n == 0:
        return Ratio(0, 0, math.nan, *ends, level, math.nan, math.nan, *ends, 0.0, False)
    columns = [by_cluster(values, clusters)[0] for values in (top, bottom, abs(top), abs(bottom))]
    sizes = by_cluster(top, clusters)[1]
    count = len(sizes)
    sums = np.stack(columns, axis=1).sum(0)
    tops, bottoms = settled(sums[None, :2], sums[None, 2:])[0]
    center = np.array([tops, bottoms]) / n
    errors, whole_ends, fieller = 0.0, ends, ends
    if count > 1:
        # What the cluster sums add beyond their share of the means: the linearised statistic.
        spread = np.stack(columns[:2], axis=1) - sizes[:, None] * center
        spread[abs(spread) <= 1e-12 * (np.stack(columns[2:], axis=1) + sizes[:, None])] = 0
        spread *= math.sqrt(count / (count - 1)) / n
        critical = float(student.ppf((1 + level) / 2, count - 1))
        error = math.sqrt(float(spread[:, 1] @ spread[:, 1]))
        errors = (
            0.0 if center[1] == 0 else math.inf if error == 0 else abs(float(center[1])) / error
        )
        whole_ends = (center[1] - critical * error, center[1] + critical * error)
        fieller = _fieller(center, spread, critical)
    bounded = all(map(math.isfinite, fieller))
    defined = count >= FEWEST and errors > FEWEST_ERRORS and bounded
    ratio = (tops / bottoms, *fieller) if defined else (math.nan, *ends)
    estimate, low, high = (float(rescaled(end, above - below)) for end in ratio)
    return Ratio(
        n,
        count,
        estimate,
        low,
        high,
        level,
        float(rescaled(center[0], above)),
        float(rescaled(center[1], below)),
        float(rescaled(whole_ends[0], below)),
        float(rescaled(whole_ends[1], below)),
        errors,
        defined,
    )


def _fieller(
    center: Float[np.ndarray, " 2"], spread: Float[np.ndarray, "clusters 2"], critical: float
) -> tuple[float, float]:
    """Ends of Fieller's set; infinite unless it is an interval.

    They solve (part - r whole)^2 = critical^2 Var(part - r whole) for r. The numerator's spread is
    split into its regression on the denominator's and the rest, so that a part that is a constant
    fraction of the whole has an interval without width.
    """
    part, whole = spread.T
    variance = float(whole @ whole)
    if abs(center[1]) <= critical * math.sqrt(variance):
        return -math.inf, math.inf
    slope = float(part @ whole) / variance if variance else 0.0
    rest = part - slope * whole
    estimate = float(center[0] / center[1])
    g = critical**2 * variance / float(center[1]) ** 2
    width = (1 - g) * float(rest @ rest) + (estimate - slope) ** 2 * variance
    half = critical / abs(float(center[1])) * math.sqrt(width)
    middle = estimate - g * slope
    return (middle - half) / (1 - g), (middle + half) / (1 - g)
