"""A second opinion on two paired accuracies: a marginal logistic model fitted by GEE.

Sign flips and Tango's interval with a design effect are one way to heed repeated images;
generalised estimating equations (Liang & Zeger 1986) are another, with other assumptions. Where the
two part ways, neither is to be trusted without a look at the clusters.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import Clusters, by_cluster, check_level, paired_outcomes

FEWEST_CLUSTERS = 20
"""Number of clusters below which no fit is made; corrected covariances fail there as well."""


@dataclass(frozen=True)
class GeeTest:
    """Two accuracies compared by a logistic model with exchangeable correlation in a cluster.

    Attributes:
        n: Number of samples, each with an outcome under both conditions.
        clusters: Number of clusters.
        odds_ratio: Odds of a right answer under the first condition over those under the second.
        low: Lower end of its interval.
        high: Upper end of its interval.
        level: Nominal coverage.
        log_odds: Natural logarithm of `odds_ratio`.
        error: Standard error of `log_odds`, with Mancl & DeRouen's (2001) correction.
        p: Two-sided p value that the odds are equal, of t with `freedom` degrees of freedom.
        freedom: Number of clusters minus the two parameters.
        correlation: Working correlation of two outcomes of one cluster.
    """

    n: int
    clusters: int
    odds_ratio: float
    low: float
    high: float
    level: float
    log_odds: float
    error: float
    p: float
    freedom: int
    correlation: float


def gee_test(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Clusters = None,
    *,
    level: float = 0.95,
    names: tuple[str, str] = ("the first condition", "the second condition"),
) -> GeeTest:
    """Compare two accuracies by GEE: binomial, logit link, exchangeable within a cluster.

    The covariance is the robust one with Mancl & DeRouen's correction for few clusters, and the
    test has t quantiles with clusters - 2 degrees of freedom. It needs `statsmodels`, which takes
    a second to load.

        >>> own = [1, 1, 1, 0] * 10
        >>> zeros = [1, 0, 0, 0, 0, 1, 1, 1] * 5
        >>> found = gee_test(own, zeros)
        >>> round(found.odds_ratio, 2), found.clusters, 0.01 < found.p < 0.05
        (3.0, 40, True)

    Args:
        first: Right (1, True) or wrong (0, False) per sample [n].
        second: The same samples in the same order [n].
        clusters: Image (or other unit) of each sample [n]; None makes each its own cluster.
        level: Nominal coverage of the interval of the odds ratio, default 0.95.
        names: Names of both conditions, for messages.

    Raises:
        LanternError: there are fewer than 20 clusters, an accuracy is 0 or 1 or no sample is
            discordant (there are no finite odds to compare), the fit does not converge, lengths
            differ, a value is neither 0 nor 1, or the level is out of range.
    """
    check_level(level)
    one, two = paired_outcomes(first, second)
    _, sizes = by_cluster(one, clusters)
    groups = len(sizes)
    if groups < FEWEST_CLUSTERS:
        raise LanternError(
            f"GEE needs at least {FEWEST_CLUSTERS} clusters, and there are {groups}; with fewer "
            "its errors are too small whatever the correction; use the sign-flip test"
        )
    for name, values in zip(names, (one, two), strict=True):
        if values.mean() in (0, 1):
            raise LanternError(
                f"the accuracy of {name} is {values.mean():g}, and its odds are not "
                "finite; GEE cannot compare them, the exact test can"
            )
    if (one == two).all():
        raise LanternError("no sample is discordant, so that GEE has nothing to estimate")
    units = list(range(len(one))) if clusters is None else list(clusters)
    return _fit(one, two, units, groups, level)


def _fit(one: ArrayLike, two: ArrayLike, units: list[object], groups: int, level: float) -> GeeTest:
    from statsmodels.genmod.cov_struct import Exchangeable
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_estimating_equations import GEE

    outcomes = np.concatenate([np.asarray(one), np.asarray(two)]).astype(np.float64)
    n = len(units)
    design = np.column_stack([np.ones(2 * n), np.repeat([1.0, 0.0], n)])
    place = {name: i for i, name in enumerate(dict.fromkeys(units))}
    numbers = np.tile([place[name] for name in units], 2)
    structure = Exchangeable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is refused below
        model = GEE(outcomes, design, groups=numbers, family=Binomial(), cov_struct=structure)
        found = model.fit(cov_type="bias_reduced", maxiter=200)
    log_odds, error = float(found.params[1]), float(found.bse[1])
    if not found.converged or not math.isfinite(error) or error <= 0:
        raise LanternError(
            "the GEE did not converge on these outcomes; trust the exact or the sign-flip test"
        )
    freedom = groups - 2
    reach = float(t.isf((1 - level) / 2, freedom)) * error
    return GeeTest(
        n=n,
        clusters=groups,
        odds_ratio=math.exp(log_odds),
        low=math.exp(log_odds - reach),
        high=math.exp(min(log_odds + reach, 700.0)),
        level=level,
        log_odds=log_odds,
        error=error,
        p=2 * float(t.sf(abs(log_odds) / error, freedom)),
        freedom=freedom,
        correlation=float(structure.dep_params),
    )
