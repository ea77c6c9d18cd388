"""Fisher's exact test of a table of two by two, with its odds ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import fisher_exact as _fisher_exact
from scipy.stats.contingency import odds_ratio as _odds_ratio

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import check_level


@dataclass(frozen=True)
class FisherExact:
    """Association of two properties of the same samples.

    Attributes:
        table: Counts ((a, b), (c, d)): rows with and without the first property, columns with and
            without the second.
        n: Number of samples.
        odds_ratio: Conditional maximum-likelihood odds ratio; NaN where a row or a column is empty.
        low: Lower end of its exact conditional interval; 0 where a row or a column is empty.
        high: Upper end; infinite where a row or a column is empty.
        level: Nominal coverage of the interval.
        p: Two-sided p value; 1 where a row or a column is empty.
    """

    table: tuple[tuple[int, int], tuple[int, int]]
    n: int
    odds_ratio: float
    low: float
    high: float
    level: float
    p: float


def fisher_exact(a: int, b: int, c: int, d: int, *, level: float = 0.95) -> FisherExact:
    """Fisher's exact test that two properties are independent (R's `fisher.test`).

    Samples are taken as independent. The two-sided p value sums the tables that are at most as
    probable as the observed one.

        >>> from lantern_probe.stats import fisher_exact
        >>> found = fisher_exact(34, 38, 82, 37)
        >>> round(found.odds_ratio, 2), round(found.p, 4)
        (0.41, 0.0037)

    Args:
        a: Samples with both properties.
        b: Samples with the first property only.
        c: Samples with the second property only.
        d: Samples with neither.
        level: Nominal coverage of the interval, default 0.95.

    Raises:
        LanternError: a count is negative, or the level lies outside (0, 1).
    """
    check_level(level)
    if min(a, b, c, d) < 0:
        raise LanternError(f"counts cannot be negative: {a}, {b}, {c}, {d}")
    counts = ((int(a), int(b)), (int(c), int(d)))
    n = a + b + c + d
    if 0 in (a + b, c + d, a + c, b + d):
        return FisherExact(counts, n, math.nan, 0.0, math.inf, level, 1.0)
    found = _odds_ratio(counts, kind="conditional")
    ends = found.confidence_interval(level)
    p = float(_fisher_exact(counts).pvalue)
    return FisherExact(
        counts, n, float(found.statistic), float(ends.low), float(ends.high), level, min(1.0, p)
    )
