"""Intervals and tests of cross-validated scores: training counts as a source of chance too.

The hits of a cross-validation are not independent: samples share their training sets, and every
fold was another's training data. A bootstrap of the hits knows nothing of that and is too narrow.
Here the variance is that of the scores of the folds, over several draws of the folds, with the
correction of Nadeau & Bengio (2003) for overlapping training sets: (1/J + 1/(K - 1)) times the
variance of the J fold scores of K folds. It is never taken below what it would be if the folds'
scores varied as independent clusters (images) do, since few folds may agree by luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import t as student

from lantern_probe.errors import LanternError
from lantern_probe.stats.clusters import Clusters, by_cluster

_DRAWS = 20_000
"""Draws from the distribution of the largest |t|."""


@dataclass(frozen=True)
class FoldSpread:
    """Uncertainty of a score that was cross-validated.

    Attributes:
        variance: Corrected variance of the score.
        inflation: Ratio of `variance` to the variance of as many independent clusters.
        df: Degrees of freedom, the number of fold scores - 1.
        clusters: Number of independent clusters, such as images.
    """

    variance: float
    inflation: float
    df: int
    clusters: int

    @property
    def error(self) -> float:
        """Standard error of the score."""
        return math.sqrt(self.variance)


@dataclass(frozen=True)
class Contrast:
    """Difference of two scores of the same cross-validation, with interval and test.

    Attributes:
        difference: First score minus second.
        error: Standard error of the difference.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        p: Two-sided p value of the corrected t test that the difference is 0.
    """

    difference: float
    error: float
    low: float
    high: float
    p: float


def fold_spread(
    fold_scores: ArrayLike, folds: int, values: ArrayLike, clusters: Clusters = None
) -> FoldSpread:
    """Estimate the variance of a cross-validated score (Nadeau & Bengio 2003).

    Args:
        fold_scores: Score of every fold, [J]: of one cross-validation, or of several draws of the
            folds one after the other.
        folds: Number of folds K of one cross-validation.
        values: Contribution of each sample to the score, [n], such as 1 for right and 0 for wrong.
        clusters: Image of each sample; None (default) makes each its own cluster.

    Raises:
        LanternError: there are fewer than two folds, or fewer fold scores than folds.
    """
    scores, samples = np.asarray(fold_scores, float), np.asarray(values, float)
    if folds < 2 or len(scores) < folds:
        raise LanternError(f"{len(scores)} fold scores of {folds} folds; give 2 folds or more")
    overlap = 1 / len(scores) + 1 / (folds - 1)
    least = folds * overlap
    independent, groups = _clustered_variance(samples, clusters)
    variance = max(overlap * float(scores.var(ddof=1)), least * independent)
    ratio = variance / independent if independent > 0 else least
    return FoldSpread(variance, ratio, len(scores) - 1, groups)


def share_interval(
    share: float, spread: FoldSpread, critical: float | None = None
) -> tuple[float, float]:
    """Wilson's interval of an accuracy, with as many samples as its corrected variance is worth.

    An accuracy of exactly 0 or 1 shows no variance; it counts one sample per cluster, over the
    inflation of folds that vary as clusters do.

    Args:
        share: Accuracy, from 0 to 1.
        spread: Its uncertainty.
        critical: Number of standard errors; by default Student's for 95 %.
    """
    z = two_sided(spread.df) if critical is None else critical
    unit = share * (1 - share)
    worth = unit / spread.variance if unit > 0 and spread.variance > 0 else None
    n = spread.clusters / spread.inflation if worth is None else worth
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(unit / n + z**2 / (4 * n**2))
    # Rounding must not part the interval from the share.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def two_sided(df: int, level: float = 0.95) -> float:
    """Number of standard errors of a two-sided interval by Student's distribution."""
    return float(student.isf((1 - level) / 2, df))


def fold_contrast(
    difference: float,
    differences: ArrayLike,
    clusters: Clusters,
    inflation: float,
    df: int,
    *,
    fold_differences: Sequence[float] = (),
    folds: int = 2,
    more: float = 0.0,
) -> Contrast:
    """Test the difference of two cross-validated scores (corrected t test).

    The variance is that of the differences sample by sample, over clusters, times the inflation
    that folds were found to have. One more discordant sample is counted than was seen, so that
    scores which agree everywhere do not claim certainty.

    Args:
        difference: First score minus second.
        differences: Difference of each sample's contributions, [n].
        clusters: Image of each sample.
        inflation: Inflation of the first score's variance (`FoldSpread.inflation`).
        df: Degrees of freedom of the test.
        fold_differences: Difference of the scores fold by fold, where both were scored in every
            fold; their corrected variance is taken if it is larger. None by default.
        folds: Number of folds of one cross-validation, with `fold_differences`.
        more: Further variance of the difference, such as that between control tasks; default 0.
    """
    samples = np.asarray(differences, float)
    independent, _ = _clustered_variance(samples, clusters)
    variance = inflation * (independent + 1 / max(1, len(samples)) ** 2)
    if len(fold_differences):
        overlap = 1 / len(fold_differences) + 1 / (folds - 1)
        variance = max(variance, overlap * float(np.var(fold_differences, ddof=1)))
    error = math.sqrt(variance + more)
    half = two_sided(df) * error
    p = float(2 * student.sf(abs(difference) / error, df))
    return Contrast(difference, error, difference - half, difference + half, p)


def largest_t(
    fold_scores: Float[np.ndarray, "s J"], *, seed: int = 0
) -> Float[np.ndarray, " draws"]:
    """Draw the largest |t| among several scores of the same folds, by a multiplier bootstrap.

    Each fold gets a random normal weight, the same for all scores, so that scores which rise and
    fall together do so in the draws. All are divided by the same random spread of J - 1 degrees
    of freedom. The 95 % quantile is the number of standard errors within which all scores lie at
    once, the best of them included.

    Args:
        fold_scores: Score of every fold, [s, J], for s scores.
        seed: Seed of the weights, default 0.
    """
    scores = np.asarray(fold_scores, float)
    centred = scores - scores.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    df = scores.shape[1] - 1
    moved = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    drawn = rng.normal(size=(_DRAWS, scores.shape[1])) @ moved.T
    # A score that never varies says nothing about its relation to others: it is drawn by itself.
    still = (length[:, 0] == 0).nonzero()[0]
    drawn[:, still] = rng.normal(size=(_DRAWS, len(still)))
    spread = np.sqrt(rng.chisquare(df, size=_DRAWS) / df)
    largest: Float[np.ndarray, " draws"] = np.abs(drawn).max(1) / spread
    return largest


def _clustered_variance(
    values: Float[np.ndarray, " n"], clusters: Clusters
) -> tuple[float, int]:
    """Variance of a mean whose clusters are independent, and the number of clusters."""
    sums, sizes = by_cluster(values, clusters)
    g, n = len(sums), len(values)
    if g < 2:
        return float(np.var(values)), g
    deviations = sums - sizes * values.mean()
    return float((deviations**2).sum()) / n**2 * g / (g - 1), g
